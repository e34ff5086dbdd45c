# SPDX-License-Identifier: MIT
# instructions.gp - guest instructions a request by number of connections, small file; dashed: ring 3 alone
WIDTH = 860; HEIGHT = 340
LINK = ARG3
RAW = ARG1; LIB = system("dirname '".ARG0."'")."/../lib"
load system("dirname '".ARG0."'")."/common.gp"
set output ARG2
set logscale x
set xtics (1, 8, 64, 500)
set xrange [0.8:640]
set yrange [0:*]
set xlabel "connections"
set ylabel "instructions a request"
small(variant) = is("closed", variant) && strcol("file") eq "small" && column("pipeline") == 1
plot DATA using (pick(small(DEFAULT), "connections")):(num("instructions")) with linespoints pt 7 lw 2 lc rgb GREY title "in-tree", \
  '' using (pick(small(DEFAULT), "connections")):(num("instructions_per_request.user")) with lines dt 2 lc rgb GREY notitle, \
  '' using (pick(small(TUNED), "connections")):(num("instructions")) with linespoints pt 7 lw 2 lc rgb BROWN title "in-tree, tuned", \
  '' using (pick(small(NGINX), "connections")):(num("instructions")) with linespoints pt 7 lw 2 lc rgb GREEN title "nginx, in-tree", \
  '' using (pick(small(PACKET), "connections")):(num("instructions")) with linespoints pt 7 lw 2 lc rgb LIGHT title "nom's stack, packet socket", \
  '' using (pick(small(XDP), "connections")):(num("instructions")) with linespoints pt 7 lw 2 lc rgb VIOLET title "nom's stack, AF_XDP", \
  '' using (pick(small(NOM), "connections")):(num("instructions")) with linespoints pt 7 lw 2 lc rgb BLUE title "nom", \
  '' using (pick(small(NOM), "connections")):(num("instructions_per_request.user")) with lines dt 2 lc rgb BLUE notitle
