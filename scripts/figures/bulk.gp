# SPDX-License-Identifier: MIT
# bulk.gp - downloads of 1 MiB, closed loop, with offloads: MiB a second by number of connections
WIDTH = 560; HEIGHT = 320
LINK = ARG3
RAW = ARG1; LIB = system("dirname '".ARG0."'")."/../lib"
load system("dirname '".ARG0."'")."/common.gp"
set output ARG2
set logscale x
set xtics (1, 8, 64)
set xrange [0.7:90]
set yrange [0:*]
set xlabel "connections"
set ylabel "MiB/s"
big(variant) = is("closed", variant) && strcol("file") eq "1m" && strcol("direction") eq "down" && strcol("offloads") eq "on"
plot DATA using (pick(big(DEFAULT), "connections")):(num("requests_per_s")) with linespoints pt 7 lw 2 lc rgb GREY title "in-tree", \
  '' using (pick(big(TUNED), "connections")):(num("requests_per_s")) with linespoints pt 7 lw 2 lc rgb BROWN title "in-tree, tuned", \
  '' using (pick(big(NGINX), "connections")):(num("requests_per_s")) with linespoints pt 7 lw 2 lc rgb GREEN title "nginx, in-tree", \
  '' using (pick(big(PACKET), "connections")):(num("requests_per_s")) with linespoints pt 7 lw 2 lc rgb LIGHT title "nom's stack, packet socket", \
  '' using (pick(big(XDP), "connections")):(num("requests_per_s")) with linespoints pt 7 lw 2 lc rgb VIOLET title "nom's stack, AF_XDP", \
  '' using (pick(big(NOM), "connections")):(num("requests_per_s")) with linespoints pt 7 lw 2 lc rgb BLUE title "nom", \
  '' using (pick(big(DEFAULT), "connections")):(num("requests_per_s")):(num("requests_per_s.min")):(num("requests_per_s.max")) with yerrorbars pt 7 ps 0.1 lw 1 lc rgb GREY notitle, \
  '' using (pick(big(TUNED), "connections")):(num("requests_per_s")):(num("requests_per_s.min")):(num("requests_per_s.max")) with yerrorbars pt 7 ps 0.1 lw 1 lc rgb BROWN notitle, \
  '' using (pick(big(NGINX), "connections")):(num("requests_per_s")):(num("requests_per_s.min")):(num("requests_per_s.max")) with yerrorbars pt 7 ps 0.1 lw 1 lc rgb GREEN notitle, \
  '' using (pick(big(PACKET), "connections")):(num("requests_per_s")):(num("requests_per_s.min")):(num("requests_per_s.max")) with yerrorbars pt 7 ps 0.1 lw 1 lc rgb LIGHT notitle, \
  '' using (pick(big(XDP), "connections")):(num("requests_per_s")):(num("requests_per_s.min")):(num("requests_per_s.max")) with yerrorbars pt 7 ps 0.1 lw 1 lc rgb VIOLET notitle, \
  '' using (pick(big(NOM), "connections")):(num("requests_per_s")):(num("requests_per_s.min")):(num("requests_per_s.max")) with yerrorbars pt 7 ps 0.1 lw 1 lc rgb BLUE notitle
