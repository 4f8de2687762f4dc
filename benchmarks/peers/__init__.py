"""Other libraries that do the same work, each by an adapter in a file of its own, written as its documentation tells.

`roster` says who they are, what to install for them and what they cannot do; `environment` installs each in a virtual
environment of its own, never in capnet's. An adapter is only imported by processes that run there.
"""
