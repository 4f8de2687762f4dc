"""How fast capnet is, as ratios to hand-written floors measured in the same run (`python -m benchmarks`).

This room owns the workloads, the floors they are compared with, and the processes that run them; the library knows
nothing of it. Open `workload.py` first: it holds the rows of the table and the loop that is timed. Then

- `floors/` and `macro/` are the subjects: one server and the same units of work, without capnet and with it; `peers/`
  has those of other libraries;
- `micro/` times the library's pure rooms without any I/O;
- `child.py` is what a child process runs, `process.py` starts and ends such children, pinned to one core or not;
- `relay.py` stands between client and server where a row asks for latency;
- `comparison.py` interleaves floor and capnet and makes ratios, `report.py` prints them, `machine.py` says where;
- `hotspots.py` is the profile: where server and client spend their own time; `instructions.py` counts, `scaling.py`
  shows how cost grows, `plot.py` draws.
"""
