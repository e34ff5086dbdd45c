# SPDX-License-Identifier: MIT
# cost.gp - W swept: mean latency against guest instructions a request; circles: the frontier (thesis 6.14)
# A line goes by growing W; where all lie close together, the names of all would hide them.
WIDTH = 860; HEIGHT = 380
LINK = ARG3
RAW = ARG1; LIB = system("dirname '".ARG0."'")."/../lib"
load system("dirname '".ARG0."'")."/common.gp"
set output ARG2
set logscale x
set xlabel "mean latency, µs (logarithmic)"
set ylabel "instructions a request"
set yrange [0:*]
set format x "%.0f"
set grid x
set offsets graph 0.06, graph 0.06, graph 0.12, 0
small(c) = is("sweep", NOM) && loaded(c, "small", 1)
mark(c) = small(c) && column("pareto_cost") == 1
plot for [i=1:4] DATA using (pick(small(int(word("1 8 64 500", i))), "latency_us.mean")):(num("instructions")) with linespoints pt 7 ps 0.6 lw 1.5 lc rgb word(GREY." ".LIGHT." ".BLUE." ".BROWN, i) title word("1 8 64 500", i)." connections", \
  for [i=1:4] '' using (pick(mark(int(word("1 8 64 500", i))), "latency_us.mean")):(num("instructions")) with points pt 6 ps 1.6 lw 1.5 lc rgb RED notitle, \
  for [i=1:4] '' using (pick(mark(int(word("1 8 64 500", i))), "latency_us.mean")):(num("instructions")):(sprintf("W=%s", strcol("w_us"))) with labels offset 0,0.9 font ",10" notitle
