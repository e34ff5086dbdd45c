# SPDX-License-Identifier: MIT
# jitter.gp - open loop: standard deviation of latency by offered load; logarithmic
WIDTH = 560; HEIGHT = 320
LINK = ARG3
RAW = ARG1; LIB = system("dirname '".ARG0."'")."/../lib"
load system("dirname '".ARG0."'")."/common.gp"
set output ARG2
set logscale y
set format y "%.0f"
set xrange [0:*]
set xlabel "offered load, part of in-tree's saturation; 64 connections"
set ylabel "standard deviation, µs"
at64(variant) = is("open", variant) && column("connections") == 64
plot DATA using (pick(at64(DEFAULT), "level")):(num("latency_us.sd")) with linespoints pt 7 lw 2 lc rgb GREY title "in-tree", \
  '' using (pick(at64(TUNED), "level")):(num("latency_us.sd")) with linespoints pt 7 lw 2 lc rgb BROWN title "in-tree, tuned", \
  '' using (pick(at64(NOM), "level")):(num("latency_us.sd")) with linespoints pt 7 lw 2 lc rgb BLUE title "nom", \
  '' using (pick(at64(DEFAULT), "level")):(num("latency_us.sd")):(num("latency_us.sd.min")):(num("latency_us.sd.max")) with yerrorbars pt 7 ps 0.1 lw 1 lc rgb GREY notitle, \
  '' using (pick(at64(TUNED), "level")):(num("latency_us.sd")):(num("latency_us.sd.min")):(num("latency_us.sd.max")) with yerrorbars pt 7 ps 0.1 lw 1 lc rgb BROWN notitle, \
  '' using (pick(at64(NOM), "level")):(num("latency_us.sd")):(num("latency_us.sd.min")):(num("latency_us.sd.max")) with yerrorbars pt 7 ps 0.1 lw 1 lc rgb BLUE notitle
