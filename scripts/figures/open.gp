# SPDX-License-Identifier: MIT
# open.gp - open loop: 99th percentile by offered load, the same for all; logarithmic
WIDTH = 860; HEIGHT = 340
LINK = ARG3
RAW = ARG1; LIB = system("dirname '".ARG0."'")."/../lib"
load system("dirname '".ARG0."'")."/common.gp"
set output ARG2
set logscale y
set format y "%.0f"
set xrange [0:*]
set xlabel "offered load, part of the in-tree stack's saturation; 64 connections"
set ylabel "latency, µs; solid: 99 %, dashed: median"
at64(variant) = is("open", variant) && column("connections") == 64
plot DATA using (pick(at64(DEFAULT), "level")):(num("latency_us.p99")) with linespoints pt 7 lw 2 lc rgb GREY title "in-tree", \
  '' using (pick(at64(DEFAULT), "level")):(num("latency_us.p50")) with lines dt 2 lc rgb GREY notitle, \
  '' using (pick(at64(TUNED), "level")):(num("latency_us.p99")) with linespoints pt 7 lw 2 lc rgb BROWN title "in-tree, tuned", \
  '' using (pick(at64(TUNED), "level")):(num("latency_us.p50")) with lines dt 2 lc rgb BROWN notitle, \
  '' using (pick(at64(NOM), "level")):(num("latency_us.p99")) with linespoints pt 7 lw 2 lc rgb BLUE title "nom", \
  '' using (pick(at64(NOM), "level")):(num("latency_us.p50")) with lines dt 2 lc rgb BLUE notitle, \
  '' using (pick(at64(DEFAULT), "level")):(num("latency_us.p99")):(num("latency_us.p99.min")):(num("latency_us.p99.max")) with yerrorbars pt 7 ps 0.1 lw 1 lc rgb GREY notitle, \
  '' using (pick(at64(TUNED), "level")):(num("latency_us.p99")):(num("latency_us.p99.min")):(num("latency_us.p99.max")) with yerrorbars pt 7 ps 0.1 lw 1 lc rgb BROWN notitle, \
  '' using (pick(at64(NOM), "level")):(num("latency_us.p99")):(num("latency_us.p99.min")):(num("latency_us.p99.max")) with yerrorbars pt 7 ps 0.1 lw 1 lc rgb BLUE notitle
