# SPDX-License-Identifier: MIT
"""stated - every setting of the wide comparison, for its page

about() is the machine line of wide.jsonl, from the first boot; name_of_server() is
what a server's settings stand under.
"""
import boots
import guest as g
import httpload
import links
import nginx
import nhttpd
import openload
import plan as p
import tuning

PRICE = 1
IDLE_S, IDLE_SETTLE_S = 2, 0.5


def name_of_server(variant, how, link, offloads=True, device=None, swept=False):
    """Servers whose settings differ have different names."""
    return ", ".join([variant, *([how["tuned"].name] if how.get("tuned") else []), *(["uploads"] if how.get("sink") else []), *(["W swept"] if swept else []),
                      link, *([] if offloads else ["no offloads"]), *([f"ioeventfd={device}"] if device else [])])


def seconds(args):
    """Of each kind of load, where that is not seconds_per_cell."""
    few = {c: max(least, args.seconds) for c, least in p.LEAST_S.items()}
    return {**{f"{c} connections": f"{s} s, for handshakes" for c, s in few.items()},
            "settings and devices swept or tried": f"{p.SWEEP_S} s; where instructions are counted " + ", ".join(f"{s} s at {c} connections" for c, s in p.LEAST_S.items()),
            "warming up": "1 s of each variant in each boot, not measured", "idle": f"{IDLE_S} s, {IDLE_SETTLE_S} s after the last load"}


def chosen_by(plan):
    """By what figure the tuned column's settings are chosen."""
    closed = "requests/s of closed loops with the small file, in two boots, for each number of connections"
    if not plan.trials:
        return f"{closed}; the open loop and 1 MiB have the same settings, none was looked for that suits these better"
    also = f"the best {p.TRIED_BEST} of these and {', '.join(p.ALSO_TRIED)} were tried once more each"
    return (f"{closed}; open loop (p99 and sd): {also}, {p.SWEEP_S} s at {p.TRIAL_LEVEL:g} of saturation with each number of connections, the least p99 is the column's; "
            f"1 MiB: likewise with {p.TRIAL_BULK} connections in each direction, the highest rate is the column's there, with 1, 64 and without offloads, too")


def commands():
    """How the load is generated, to the option."""
    said = {"tap, closed loop": " ".join(httpload.command("URL", "CONNECTIONS", "SECONDS")) + ", with NOM_CONNECTIONS, NOM_PIPELINE and NOM_UPLOAD for the script",
            "tap, open loop": " ".join(openload.command("URL", "RATE", "CONNECTIONS", "SECONDS")),
            "vhost-user, closed loop": "nom-peer: " + " ".join(links.closed_words("URL", "CONNECTIONS", "SECONDS", "PIPELINED")),
            "vhost-user, open loop": "nom-peer: " + " ".join(links.open_words("URL", "RATE", "CONNECTIONS", "SECONDS")),
            "errors": f"a load with more than {httpload.MOST_ERRORS:.1%} errors has failed"}
    return {where: text.replace(f"{g.ROOT}/", "") for where, text in said.items()}


def about(args, boot):
    machine, plan = boots.about_machine(args, boot.guest), p.PLANS[args.plan]
    machine["settings"].update({
        "file_bytes": p.FILES[p.SMALL][1], "bulk_bytes": p.FILES[p.BULK][1], "plan": {args.plan: {**plan._asdict(), "settings": [s.name for s in plan.settings]}},
        "variants": {**{v: nhttpd.VARIANTS.get(v) for v in args.variants if v in nhttpd.VARIANTS and v != "linux-tuned"},
                     **({"linux-tuned": "in-tree stack, core 0, with the best of the settings that were swept"} if "linux-tuned" in args.variants else {}),
                     **({"nginx": "Debian's nginx, in-tree stack with the kernel's defaults, core 0; " + nginx.configuration()} if "nginx" in args.variants else {})},
        "tunings": {s.name: s.text() for s in tuning.SETTINGS}, "scenario": [{"connections": c, "price": PRICE} for c in plan.connections],
        "links": {name: links.LINKS[name].text for name in args.links}, **({"link_left_out": args.left_out} if args.left_out else {}),
        "open_loop": f"nom-load or nom-peer, Poisson, seed {openload.SEED}, warm-up {openload.WARM_S} s, drain {openload.DRAIN_S} s, "
                     f"saturated below {openload.SERVED:.0%} of the offered load",
        "in_tree_settings_chosen_by": chosen_by(plan), "seconds_of": seconds(args), "load_commands": commands()})
    machine["left_out"] = p.left_out(plan, args.variants)
    return machine
