# The workloads for pycapnp.

@0xbf5147cbbecf40c1;

struct Small {
  n @0 :Int64;
  s @1 :Text;
}

interface Callback {
  back @0 (value :Small) -> (value :Small);
}

interface Items {
  item @0 (n :Int64, s :Text) -> ();
}

interface Node {
  next @0 () -> (node :Node);
  value @1 () -> (before :Int64);
}

interface Echo {
  echo @0 (value :Small) -> (value :Small);
  callback @1 (target :Callback, value :Small) -> (value :Small);
  numbers @2 (count :Int64, items :Items) -> ();
  blob @3 (data :Data) -> (data :Data);
  first @4 () -> (node :Node);
}
