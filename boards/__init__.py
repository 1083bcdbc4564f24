"""Boards as data: one TOML file each, and one small loader."""

from boards.board import Board, Region
from boards.loader import all_boards, board_ids, load_board

__all__ = ["Board", "Region", "all_boards", "board_ids", "load_board"]
