"""The compiler: graph IR, operators, importers, passes, planner and command line."""
