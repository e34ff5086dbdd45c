# SPDX-License-Identifier: MIT
# common.gp - what all figures share; ARG1: the data, ARG2: the SVG to write, ARG3: the link (tap)
#
#   gnuplot -c scripts/figures/NAME.gp build/report/wide/wide.jsonl NAME.svg
#   gnuplot -c scripts/figures/NAME.gp build/report/wide/wide.csv NAME.svg vhost-user
#
# Of raw data (a .jsonl, each line a load in one boot) medians, spread and frontiers are made
# here, by `python3 scripts/lib/widetable.py wide.jsonl`, which prints what wide.csv holds.
TABLE = exists("TABLE") ? TABLE : "widetable"
DATA = RAW[strlen(RAW)-5:] eq ".jsonl" ? "< python3 -B \"".LIB."/".TABLE.".py\" \"".RAW."\"" : RAW
LINK = strlen(LINK) ? LINK : "tap"
set encoding utf8
set datafile separator ","
set datafile missing NaN
set terminal svg size WIDTH,HEIGHT dynamic font "system-ui, DejaVu Sans, sans-serif,13" background "white"
set border 3 lc rgb "#7b8794" lw 1
set grid y lc rgb "#e4e7eb" lw 1 lt 1
set tics nomirror textcolor rgb "#1f2933" scale 0.4
set key outside top left horizontal textcolor rgb "#1f2933" samplen 1.2 width 1
set style fill solid 1.0 noborder
set bmargin 3.6

GREY = "#9aa5b1"; BROWN = "#b58b4c"; GREEN = "#5f8f5a"; BLUE = "#0b7285"; RED = "#b42318"; LIGHT = "#66b3c1"; VIOLET = "#7a5195"
DEFAULT = "linux-default"; TUNED = "linux-tuned"; NGINX = "nginx"; PACKET = "packet"; XDP = "xdp"; NOM = "nom"

# A column's number where the row is of this link, group and load, else nothing.
num(name) = strlen(strcol(name)) ? column(name) : NaN
of(group) = strcol("group") eq group && strcol("link") eq LINK
is(group, variant) = of(group) && strcol("variant") eq variant
loaded(connections, file, depth) = column("connections") == connections && strcol("file") eq file && column("pipeline") == depth
pick(yes, name) = yes ? num(name) : NaN
