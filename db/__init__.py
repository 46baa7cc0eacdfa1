"""The store: every table, and every query, of prefloop.

One file per noun. Functions take a `Session` first and return rows of a named shape; open one with
`engine.reading` or `engine.writing`. Knows SQL, and nothing of torch, streamlit or the packages that stand on it.
"""
