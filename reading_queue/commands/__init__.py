"""Groups of commands of `counterpart-hub` that have a file of their own: parse, one service call, say what it gave."""
