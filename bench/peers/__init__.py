"""daemun side by side with the proxies that people would pick instead: `python -m bench.peers --help`.

place, compiled, interpreted, peers   how each peer is configured, found and started
process, cpu, machine                 processes, what /proc says of them, where this ran
origin, workloads, load, paced        what answers, what is asked, who asks (wrk, or our own)
run, group, measure, answers          rounds in turn; what one measurement is; who answers rightly
results, figures, targets             the result file, the numbers read out of it, what they should be
report, chart, page                   Markdown, SVG, HTML
"""
