# SPDX-License-Identifier: MIT
"""initramfs - the guest's root file system, made of what the tree has built

The image is a plain (uncompressed) newc cpio archive: QEMU hands it over by
DMA and the kernel only copies it, which under TCG is far quicker than any
decompression.  It is written here, without cpio(1) or root, because device
nodes and owners in it are just numbers.  The name holds a hash of everything
inside, so an unchanged tree is not packed twice, and two trees never mix.
"""
import hashlib
import os
import pathlib
import re
import shutil
import stat
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
GUEST = BUILD / "guest"
ROOM_BYTES = 256 << 20		# what must be free before we start to write
KEEP = 4			# images kept; older ones go,
KEEP_STRIPPED = 100		# of the stripped programs as well,
YOUNG_S = 120			# but not what another run may be about to use

PASSWD = """root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
user:x:1000:1000:regular user:/tmp:/bin/sh
nomuser:x:1001:1001:member of nom:/tmp:/bin/sh
"""
GROUP = """root:x:0:
tty:x:5:
nogroup:x:65534:
nom:x:990:nomuser
user:x:1000:
nomuser:x:1001:
"""
# user name -> (uid, gid of an extra group or the same)
USERS = {"root": (0, 0), "user": (1000, 1000), "nomuser": (1001, 990)}


class ImageError(Exception):
    """The image cannot be made; the text says what to do."""


class Tree:
    """What goes into the image: path -> (mode, contents or link target, device)."""

    def __init__(self):
        self.nodes = {}

    def directory(self, path, mode=0o755):
        path = path.strip("/")
        if not path or path in self.nodes:
            return
        if "/" in path:
            self.directory(path.rpartition("/")[0])
        self.nodes[path] = (stat.S_IFDIR | mode, b"", (0, 0))

    def _parent(self, path):
        parent = path.strip("/").rpartition("/")[0]
        if parent:
            self.directory(parent)
        return path.strip("/")

    def data(self, path, contents, mode=0o644):
        self.nodes[self._parent(path)] = (stat.S_IFREG | mode, contents, (0, 0))

    def link(self, path, target):
        self.nodes[self._parent(path)] = (stat.S_IFLNK | 0o777, target.encode(), (0, 0))

    def device(self, path, major, minor, mode=0o600):
        self.nodes[self._parent(path)] = (stat.S_IFCHR | mode, b"", (major, minor))

    def file(self, source, path, mode=None):
        source = pathlib.Path(source)
        if mode is None:
            mode = 0o755 if os.access(source, os.X_OK) else 0o644
        self.data(path, source.read_bytes(), mode)

    def add(self, source, path):
        """A file or a directory with everything below it."""
        source = pathlib.Path(source)
        if source.is_dir():
            self.directory(path)
            for child in sorted(source.iterdir()):
                self.add(child, f"{path}/{child.name}")
        else:
            self.file(source, path)

    def digest(self):
        seen = hashlib.sha256()
        for path in sorted(self.nodes):
            mode, contents, device = self.nodes[path]
            seen.update(f"{path}\0{mode:o}\0{device}\0{len(contents)}\0".encode())
            seen.update(contents)
        return seen.hexdigest()[:16]

    def cpio(self):
        """The newc archive as a list of byte strings."""
        out = []
        position = 0

        def put(chunk):
            nonlocal position
            pad = -len(chunk) % 4
            out.append(chunk + b"\0" * pad)
            position += len(chunk) + pad

        entries = [(p, *self.nodes[p]) for p in sorted(self.nodes, key=lambda p: (p.count("/"), p))]
        for inode, (path, mode, contents, device) in enumerate(entries + [("TRAILER!!!", 0, b"", (0, 0))], 1):
            name = path.encode() + b"\0"
            fields = (inode, mode, 0, 0, 1, 0, len(contents), 0, 0, *device, len(name), 0)
            put(b"070701" + b"".join(b"%08X" % f for f in fields) + name)
            put(contents)
        return out


def compile_tool(name):
    """build/guest/NAME, from scripts/guest/NAME.c; static, needs only a C compiler."""
    source = ROOT / f"scripts/guest/{name}.c"
    key = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    tool = GUEST / f"{name}-{key}"
    if not tool.exists():
        GUEST.mkdir(parents=True, exist_ok=True)
        made = GUEST / f"{name}-{key}.{os.getpid()}"
        command = ["cc", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Os", "-static", "-s", "-o", str(made), str(source)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError:
            raise ImageError(f"no C compiler (cc) for scripts/guest/{name}.c: run scripts/install-deps") from None
        except subprocess.CalledProcessError as error:
            raise ImageError(f"scripts/guest/{name}.c does not compile: {' '.join(command)}\n{error.stderr}") from None
        made.rename(tool)
    os.utime(tool)
    return tool


def shared_libraries(paths):
    """Every library (and the loader) that the given programs need, as ldd finds them."""
    found = set()
    for path in paths:
        done = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=False)
        for line in done.stdout.splitlines():
            if "not found" in line:
                raise ImageError(f"{path}: library {line.strip()}")
            where = re.search(r"(?:=>\s*)?(/\S+)\s+\(0x", line)
            if where:
                found.add(where.group(1))
    return sorted(found)


def is_elf(path):
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def stripped(path):
    """Contents of a program without its debug sections (they are nine tenths of it)."""
    contents = pathlib.Path(path).read_bytes()
    if not shutil.which("strip"):
        return contents
    key = hashlib.sha256(contents).hexdigest()[:24]
    cache = GUEST / "stripped" / key
    try:
        os.utime(cache)		# in use: not the next to go
        return cache.read_bytes()
    except FileNotFoundError:
        cache.parent.mkdir(parents=True, exist_ok=True)
    made = cache.with_name(f"{key}.{os.getpid()}")
    done = subprocess.run(["strip", "-g", "-o", str(made), str(path)], capture_output=True, check=False)
    if done.returncode:
        return contents
    contents = made.read_bytes()
    made.rename(cache)
    return contents


def which(name):
    path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    return path and os.path.realpath(path)


def collect(say, build=BUILD, extra=()):
    """The tree of nodes; `say` gets a line for each product that is not built yet."""
    tree = Tree()
    programs = []

    def program(source, path):
        if is_elf(source):
            programs.append(source)
            tree.data(path, stripped(source), 0o755)
        else:
            tree.file(source, path)

    for path in ("dev", "proc", "sys", "tmp", "run", "mnt", "root", "etc", "bin", "usr/bin", "usr/sbin", "lib/nom"):
        tree.directory(path)
    tree.device("dev/console", 5, 1)
    tree.device("dev/null", 1, 3, 0o666)
    tree.data("etc/passwd", PASSWD.encode())
    tree.data("etc/group", GROUP.encode())
    tree.data("etc/hosts", b"127.0.0.1 localhost\n")
    tree.file(ROOT / "scripts/guest/init", "init", 0o755)
    tree.file(compile_tool("agent"), "lib/nom/agent", 0o755)

    busybox = which("busybox")
    if not busybox or shared_libraries([busybox]):
        raise ImageError("no static busybox: run scripts/install-deps (package busybox-static)")
    tree.file(busybox, "bin/busybox", 0o755)
    for name in "sh mount insmod ip hostname".split():
        tree.link(f"bin/{name}", "busybox")
    for name in ("ip", "ethtool", "setpriv"):
        tool = which(name)
        if tool:
            program(tool, f"usr/sbin/{name}")
        else:
            say(f"not on this machine, left out: {name}")

    places = [(build / "bin", "usr/bin"), (build / "bin/system", "usr/lib/nom/system"),
              (build / "bin/examples", "usr/lib/nom/examples"), (build / "kselftest", "usr/lib/nom/kselftest"),
              (ROOT / "tests/system", "usr/lib/nom/tests")]
    for source, where in places:
        files = [p for p in sorted(source.glob("*")) if p.is_file()] if source.is_dir() else []
        for path in files:
            program(path, f"{where}/{path.name}")
        if not files:
            say(f"nothing there yet, left out: {source.relative_to(ROOT)}")
    for path in sorted((build / "kselftest").rglob("*")):
        if path.is_file() and path.parent != build / "kselftest":
            program(path, f"usr/lib/nom/kselftest/{path.relative_to(build / 'kselftest')}")
    for source, where in ((build / "nom.ko", "lib/nom/nom.ko"), (ROOT / "econd/tables", "usr/share/nom/tables"),
                          (ROOT / "econd/terms", "usr/share/nom/terms"), (ROOT / "econd/traces", "usr/share/nom/traces")):
        if source.is_dir():
            tree.add(source, where)
        elif source.exists():
            tree.data(where, stripped(source) if where.endswith(".ko") else source.read_bytes())
        else:
            say(f"nothing there yet, left out: {source.relative_to(ROOT)}")
    for source, where in extra:
        tree.add(source, where)
        source = pathlib.Path(source)
        programs += [p for p in ([source] if source.is_file() else source.rglob("*"))
                     if p.is_file() and os.access(p, os.X_OK) and is_elf(p)]
    for library in shared_libraries(programs):
        tree.data(library, pathlib.Path(library).resolve().read_bytes(), 0o755)
    return tree


def prune(pattern, keep):
    """Delete all but the `keep` latest files, except young ones."""
    def age(path):
        try:
            return time.time() - path.stat().st_mtime
        except FileNotFoundError:	# another run pruned it
            return 0

    for path in sorted(GUEST.glob(pattern), key=age)[keep:]:
        if age(path) > YOUNG_S:
            path.unlink(missing_ok=True)


def make(say=lambda line: None, extra=(), build=BUILD):
    """Returns the path of an image that holds the current build and `extra` (source, path) pairs."""
    try:
        GUEST.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(GUEST).free
        if free < ROOM_BYTES:
            raise ImageError(f"{GUEST}: {free >> 20} MiB free, {ROOM_BYTES >> 20} MiB needed: make room on this file system")
        tree = collect(say, build, extra)
        image = GUEST / f"initramfs-{tree.digest()}.cpio"
        if image.exists():
            os.utime(image)
        else:
            made = image.with_name(f"{image.name}.{os.getpid()}")
            try:
                with open(made, "wb") as file:
                    for chunk in tree.cpio():
                        file.write(chunk)
                made.rename(image)
            finally:
                made.unlink(missing_ok=True)
        prune("initramfs-*.cpio", KEEP)
        prune("agent-*", KEEP)
        prune("stripped/*", KEEP_STRIPPED)
        return image
    except OSError as error:
        raise ImageError(f"cannot make the guest's root file system: {error}") from None
