# SPDX-License-Identifier: MIT
# udp.gp - guest instructions a datagram, 1 and 64 under way; the darker part is ring 3
#
#   gnuplot -c scripts/figures/udp.gp build/report/udp/udp.jsonl udp.svg
#
# Or of udp.csv; raw data are summed up by `python3 scripts/lib/udptable.py udp.jsonl`, as common.gp says.
LINK = "tap"; TABLE = "udptable"
WIDTH = 860; HEIGHT = 320
RAW = ARG1; LIB = system("dirname '".ARG0."'")."/../lib"
load system("dirname '".ARG0."'")."/common.gp"
set output ARG2
set boxwidth 0.34
set xrange [0.4:6.6]
set yrange [0:*]
set ylabel "instructions a request"
set xtics ("in-tree" 1, "in-tree, tuned" 2, "packet socket" 3, "AF_XDP" 4, "nom, native tier" 5, "nom, raw tier" 6)
place(variant) = variant eq DEFAULT ? 1 : variant eq TUNED ? 2 : variant eq "packet" ? 3 : variant eq XDP ? 4 : variant eq "nom-native" ? 5 : variant eq NOM ? 6 : NaN
at(connections, off) = strcol("group") eq "closed" && column("connections") == connections ? place(strcol("variant")) + off : NaN
plot DATA using (at(1, -0.18)):(num("instructions")) with boxes lc rgb LIGHT title "1 under way", \
  '' using (at(1, -0.18)):(num("instructions_per_request.user")) with boxes lc rgb BLUE title "of these ring 3", \
  '' using (at(64, 0.18)):(num("instructions")) with boxes lc rgb GREY title "64 under way", \
  '' using (at(64, 0.18)):(num("instructions_per_request.user")) with boxes lc rgb BROWN title "of these ring 3"
