"""daemun side by side with the proxies that people would pick instead: `python -m bench.peers --help`.

place, compiled, interpreted, peers   how each peer is configured, found and started
process, cpu, machine                 processes, what /proc says of them, where this ran
origin, plain_origin, grpc_origin     what answers
workloads, load, paced, grpc_stream   what is asked, who asks (wrk, h2load, grpcio, or our own)
run, group, measure                   rounds in turn; what one measurement is
answers, asking                       who answers rightly; one request in HTTP/2
results, figures, targets             the result file, the numbers read out of it, what they should be
report, chart, page                   Markdown, SVG, HTML
"""
