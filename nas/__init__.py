"""Architecture search: search spaces and evolution that ask the planner what a network costs."""
