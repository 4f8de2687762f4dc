"""The floors: the same workloads written by hand, with no RPC library at all.

`f2` is the one every ratio refers to; `f2_buffered` reads into a buffer of its own and shows how hard a floor `f2` is.
A floor stays what a good engineer would write in an afternoon: it is neither tuned when capnet gets faster nor slowed
down when it does not.
"""
