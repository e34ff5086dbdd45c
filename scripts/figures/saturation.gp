# SPDX-License-Identifier: MIT
# saturation.gp - open loop, 64 connections: the highest rate that was served
WIDTH = 560; HEIGHT = 320
LINK = ARG3
RAW = ARG1; LIB = system("dirname '".ARG0."'")."/../lib"
load system("dirname '".ARG0."'")."/common.gp"
set output ARG2
set boxwidth 0.5
set xrange [-0.6:2.6]
set yrange [0:*]
set xtics ("in-tree" 0, "in-tree, tuned" 1, "nom" 2)
set ylabel "requests/s"
unset key
at(x, variant) = is("saturation", variant) && column("connections") == 64 ? x : NaN
plot DATA using (at(0, DEFAULT)):(num("saturation_per_s")) with boxes lc rgb GREY, \
  '' using (at(1, TUNED)):(num("saturation_per_s")) with boxes lc rgb BROWN, \
  '' using (at(2, NOM)):(num("saturation_per_s")) with boxes lc rgb BLUE, \
  '' using (at(0, DEFAULT)):(num("saturation_per_s")):(num("saturation_per_s.min")):(num("saturation_per_s.max")) with yerrorbars pt 7 ps 0.1 lw 1 lc rgb "black", \
  '' using (at(1, TUNED)):(num("saturation_per_s")):(num("saturation_per_s.min")):(num("saturation_per_s.max")) with yerrorbars pt 7 ps 0.1 lw 1 lc rgb "black", \
  '' using (at(2, NOM)):(num("saturation_per_s")):(num("saturation_per_s.min")):(num("saturation_per_s.max")) with yerrorbars pt 7 ps 0.1 lw 1 lc rgb "black"
