"""daemun side by side with the proxies that people would pick instead: `python -m bench.peers --help`.

place, compiled, interpreted, peers   how each peer is configured, found and started
process, cpu, machine                 processes, what /proc says of them, where this ran
origin, *_origin                      what answers
workloads, soap                       what is asked
load, paced, grpc_stream              who asks (wrk, h2load, grpcio, or our own)
websocket, websocket_*.c              WebSocket's origin and clients, in C
run, group, measure                   rounds in turn; what one measurement is
answers, asking                       who answers rightly; one request in HTTP/2
results, figures, targets             the result file, the numbers read out of it, what they should be
report, chart, page                   Markdown, SVG, HTML
"""
