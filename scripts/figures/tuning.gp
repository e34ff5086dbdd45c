# SPDX-License-Identifier: MIT
# tuning.gp - the in-tree stack's settings, 64 connections: rate and instructions a request
WIDTH = 860; HEIGHT = 380
LINK = ARG3
load system("dirname '".ARG0."'")."/common.gp"
set output ARG2
set yrange [0:*]
set y2range [0:*]
set y2tics nomirror
set border 11
set boxwidth 0.4
unset xtics
set xrange [-0.6:9.6]
set ylabel "requests/s"
set y2label "instructions a request"
# Counts are taken on the tap.
if (LINK ne "tap") { unset y2tics; unset y2label; set y2range [0:1]; set border 3 }
many(c) = of("tune") && column("connections") == c
plot ARG1 using (many(64) ? num("tuning_nr") : NaN):(num("requests_per_s")) with boxes lc rgb BROWN title "requests/s", \
  '' using (many(64) ? num("tuning_nr") : NaN):(0):(strcol("tuning")) with labels rotate by 90 left offset 0,0.6 tc rgb "white" notitle, \
  '' using (many(64) ? num("tuning_nr") : NaN):(num("instructions")) axes x1y2 with points pt 7 ps 1.2 lc rgb BLUE title (LINK eq "tap" ? "instructions a request (right)" : "")
