# SPDX-License-Identifier: MIT
# tuning.gp - the in-tree stack's settings, 64 connections: rate and instructions a request
WIDTH = 860; HEIGHT = 380
LINK = ARG3
RAW = ARG1; LIB = system("dirname '".ARG0."'")."/../lib"
load system("dirname '".ARG0."'")."/common.gp"
set output ARG2
set yrange [0:*]
set y2range [0:1<*]
set y2tics nomirror
set border 11
set boxwidth 0.4
unset xtics
set xrange [-0.6:9.6]
set ylabel "requests/s"
set y2label "instructions a request"
# Counts are taken on the tap.
if (LINK ne "tap") { unset y2tics; unset y2label; set y2range [0:1]; set border 3 }
many(fd) = of("tune") && column("connections") == 64 && strcol("ioeventfd") eq fd && strcol("variant") eq TUNED
# On the tap there are two devices; the left bar is the one whose doorbells QEMU's device thread takes.
OFF = LINK eq "tap" ? 0.2 : 0
at(fd) = many(fd) ? num("tuning_nr") + (fd eq "on" ? -OFF : OFF) : NaN
# Where nothing was counted (KVM), the right axis has but these points, too small to see: at size 0 some viewers refuse the whole picture.
plot DATA using (many("on") ? num("tuning_nr") : NaN):(0) axes x1y2 with points pt 7 ps 0.01 lc rgb "white" notitle, \
  '' using (at("on")):(num("requests_per_s")) with boxes lc rgb BROWN title "requests/s, ioeventfd=on", \
  '' using (at("off")):(num("requests_per_s")) with boxes lc rgb GREEN title (LINK eq "tap" ? "ioeventfd=off" : ""), \
  '' using (many("on") ? num("tuning_nr") - OFF : NaN):(0):(strcol("tuning")) with labels rotate by 90 left offset 0,0.6 tc rgb "white" notitle, \
  '' using (at("on")):(num("instructions")) axes x1y2 with points pt 7 ps 1.2 lc rgb BLUE title (LINK eq "tap" ? "instructions a request (right)" : ""), \
  '' using (at("off")):(num("instructions")) axes x1y2 with points pt 7 ps 1.2 lc rgb BLUE notitle
