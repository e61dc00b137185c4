"""Other runtimes doing the same four shapes as hanse's mailboxes, each in a process of its own.

`python -m bench.mailbox_peers.NAME SHAPE --agents N --count M` prints one number:

storm      messages a second: N agents, min(N, 10,000) tokens of 64 bytes, each forwarded by whoever
           handles it to a random other, M handlings
pingpong   median microseconds of a request to one agent and its answer, M of them
idle       bytes of resident memory for each of N agents that have nothing to do
slow       messages a second that N - 1 agents handle while one agent handles nothing, M sent round
           robin; a queue that can be bounded holds 64
"""
