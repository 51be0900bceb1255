"""The deeds of hostile authors: one function for each kind of attack, which marks its names."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Callable

from hostile_author import FILMS, FORGED, Author, swap_for
from reeldrop.intake.scan import MAX_DEPTH

# The content of the files


def prompt_text(mark: str, **settings: object) -> str:
    """Return a correct prompt file."""
    lines = [f"{key}: {value}" for key, value in settings.items()]
    return "\n".join([f"prompt: {mark}", *lines, ""])


_INJECTIONS = (
    "\x1b[31m{f}\x1b[0m", "a\\n{f}: yes", "a\\r{f}", "a\\u2028{f}: yes", "a\\x85{f}",
    "a\\e]0;{f}\\a", "a\\u202e{f}", "\\ud800{f}", "a\\0{f}", "{f}" * 300,
)  # fmt: skip


def _mistake(author: Author, mark: str) -> str:
    """Return a wrong prompt file, whose content tries to forge the messages about it."""
    text = author.dice.choice(_INJECTIONS).format(f=FORGED).replace("\x1b", "\\x1b")
    return author.dice.choice((
        f'prompt: {mark}\n"{text}": 1\n',
        f'prompt: {mark}\nmodel: "{text}"\n',
        f'prompt: {mark}\nseed: "{text}"\n',
        f'prompt: {mark}\nformat: ["{text}", mp4]\n',
        f"prompt: {mark}\nheight: 99999\nwidth: -1\nnum_frames: nan\n",
        f"prompt: {mark}\nrendered: [{text}\n",
        f"What is wrong:  {FORGED}\n: :\n\t- {mark}",
        f"prompt: !!python/object/apply:os.system ['touch {author.home}/{mark}']\n",
        "%YAML 9.9\n--- !!binary\n*a",
        "# nothing\n",
        f"prompt: {mark}\n" + "  " * 500 + "- [" * 200,
        f"prompts: [{{prompt: {mark}}}, {{prompt: {mark}, fps: 1e999}}]\n",
    ))  # fmt: skip


def _rendered_block(text: str) -> str:
    return (
        f"rendered:\n  job: {text}\n  prompt_file: {text}\n  number: 1\n  model: {text}\n"
        f"  finished: '3170843-11-28T04:00:00+00:00'\n  seconds: .inf\n  versions: {{a: {text}}}\n"
    )


# The deeds: each leaves files with `mark` in their names


def plain(author: Author, mark: str) -> None:
    """Drop an ordinary prompt file."""
    suffix = author.dice.choice((".txt", ".yaml", ".yml"))
    text = f"{mark}\n" if suffix == ".txt" else prompt_text(mark)
    author.write(author.place() / f"{mark}{suffix}", text)


def mistake(author: Author, mark: str) -> None:
    """Drop a prompt file that has to be refused, and tries to forge its report."""
    author.write(author.place() / f"{mark}.yaml", _mistake(author, mark))


def swap_folder(author: Author, mark: str) -> None:
    """Swap a folder, or its parent, with a link to a folder elsewhere that has the same names."""
    top, link = author.own / f"{mark}-d", author.own / f".{mark}-l"
    target = author.outside()
    below = author.dice.random() < 0.3
    folder = top / target.name if below else top
    folder.mkdir(parents=True)
    for name in FILMS:
        author.write(folder / name, author.dice.choice((prompt_text(mark), f"nope{mark}: 1\n")))
    link.symlink_to(target.parent if below else target)
    author.settle()
    swap_for(top, link, 1.0, author.dice)


def swap_file(author: Author, mark: str) -> None:
    """Swap a prompt file with a link to another's file, or with a pipe or a folder."""
    folder = author.own
    file, other = folder / f"{mark}.yaml", folder / f".{mark}-o"
    kind = author.dice.randrange(3)
    if kind == 0:
        other.symlink_to(author.outside() / author.dice.choice(FILMS))
    elif kind == 1:
        os.mkfifo(other)
    else:
        other.mkdir()
        (other / "x.yaml").write_text(prompt_text(mark))
    author.write(file, author.dice.choice((prompt_text(mark), _mistake(author, mark))))
    author.settle()
    swap_for(file, other, 0.5, author.dice)


def links(author: Author, mark: str) -> None:
    """Drop links: to files that only root may read, to folders, to nothing, and in a loop."""
    folder = author.place()
    target = author.outside()
    choice = author.dice.randrange(6)
    if choice == 0:
        (folder / f"{mark}.yaml").symlink_to(target / author.dice.choice(FILMS))
    elif choice == 1:
        (folder / f"{mark}").symlink_to(target)
    elif choice == 2:
        (folder / f"{mark}.txt").symlink_to(f"{mark}.txt")
    elif choice == 3:
        (folder / f"{mark}.yaml").symlink_to("/dev/zero")
    elif choice == 4:
        (folder / f"{mark}.txt").symlink_to(folder / "nowhere" / mark)
    else:
        made = author.own / f"{mark}-defaults"
        made.mkdir()
        (made / "_defaults.yaml").symlink_to(target / FILMS[0])
        author.write(made / "x.yaml", prompt_text(mark))


def hard_links(author: Author, mark: str) -> None:
    """Give a file a second hard link, and try the same with others' files."""
    folder = author.place()
    file = author.write(folder / f"{mark}-1.yaml", prompt_text(mark))
    with contextlib.suppress(OSError):
        os.link(file, folder / f"{mark}-2.yaml")
    for film in FILMS:  # fails where the kernel protects hard links
        with contextlib.suppress(OSError):
            os.link(author.outside() / film, folder / f"{mark}-3.yaml")


def deep(author: Author, mark: str) -> None:
    """Drop a file with a path of about the maximum length, or longer."""
    total = author.dice.choice((300, 1500, 3800, 4080, 4094, 4300))
    name, size = f"{mark}.yaml", author.dice.choice((40, 120, 200, 250))
    at = os.open(author.own, os.O_RDONLY | os.O_DIRECTORY)
    length = len(os.fsencode(author.own))
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: os.close(at))
        part = mark
        while length + len(part) + len(name) + 2 < total:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=at)
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
            os.close(at)
            at, length = below, length + len(part) + 1
            part = "d" * min(size, max(1, total - length - len(name) - 2))
        with open(os.open(name, os.O_WRONLY | os.O_CREAT, 0o664, dir_fd=at), "w") as file:
            file.write(author.dice.choice((prompt_text(mark), _mistake(author, mark))))


def too_deep(author: Author, mark: str) -> None:
    """Drop a file below more folders than the daemon looks into."""
    folder = author.own.joinpath(mark, *["d"] * MAX_DEPTH)
    folder.mkdir(parents=True)
    author.write(folder / f"{mark}.yaml", prompt_text(mark))


def long_names(author: Author, mark: str) -> None:
    """Drop names of 255 bytes, in folders of 255 bytes, also with letters that can expand."""
    letter = author.dice.choice(("n", "ß", "電", "ﷺ", "🎈"))
    suffix = author.dice.choice((".txt", ".yaml"))
    room = 255 - len(mark.encode()) - len(suffix)
    name = f"{mark}{letter * (room // len(letter.encode()))}"
    folder = author.own
    for number in range(author.dice.randrange(4)):
        folder = folder / f"{mark}{number}{letter * ((room - 1) // len(letter.encode()))}"
    folder.mkdir(parents=True, exist_ok=True)
    text = f"{mark}\n" if suffix == ".txt" else prompt_text(mark)
    author.write(folder / f"{name}{suffix}", text)


_ODD = (
    "{m}:x.txt", "{m}?.txt", "{m}<>|\"*.txt", "{m}\\..\\x.txt", "{m} .txt", "{m}..txt",
    "{m}. /x.txt", "{m}\n" + FORGED + ": yes.txt", "{m}\x1b[31m" + FORGED + ".txt",
    "{m}\u2028" + FORGED + ".txt", "{m}\u202etxt.exe.yaml", "{m}/con.txt", "{m}/aux.yaml",
    "{m}/ x.txt", "{m}/nul .yaml", "{m}'\"$(x)`.txt", "{m}/-rf.txt", "{m}/--all.yaml",
    "{m}/_x.yaml", "_{m}.yaml", "_{m}/x.yaml", "{m}/_failed/x.yaml", "{m}.TXT", "{m}.Yaml",
    "{m}.yaml.txt", "{m}.error.txt.yaml", "{m}/job.json.txt", "{m}/...txt", "{m}\t.txt",
    "{m}é.txt", "{m}e\u0301.txt", "{m}\u200d.txt", "{m}\x7f.txt", "{m}\x85.txt",
)  # fmt: skip


def odd_names(author: Author, mark: str) -> None:
    """Drop names that Windows refuses, that terminals interpret, or that look like reeldrop's."""
    path = author.own / author.dice.choice(_ODD).format(m=mark)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = author.dice.choice((prompt_text(mark), "# nothing\n"))
    path.write_text(text if path.suffix != ".txt" else author.dice.choice((mark, "# nothing\n")))


def bytes_names(author: Author, mark: str) -> None:
    """Drop names that are not UTF-8."""
    name = author.dice.choice(
        (b"\xff\xfe", b"\xe9t\xe9", b"\xed\xa0\x80", b"\xc0\xaf", b"\x80" * 200)
    )
    folder = os.fsencode(author.place())
    text = author.dice.choice((mark, "# nothing\n"))
    if author.dice.random() < 0.3:
        folder += b"/" + mark.encode() + name
        os.mkdir(folder)
    with open(folder + b"/" + mark.encode() + name + b".txt", "w") as file:
        file.write(text)


def aliases(author: Author, mark: str) -> None:
    """Drop a few KB of YAML that expand: aliases of aliases, or a thousand of one."""
    many = ", ".join(["*a"] * 1000)
    some, keys = list(range(300)), {f"k{n}": n for n in range(300)}
    lists = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12)]
    merges = [f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 9)}]}}" for n in range(1, 9)]
    items = [f"&a{n} {{prompt: {mark}, seed: [*s]}}" for n in range(500)]
    texts = (
        f"prompt: {mark}\nx: &a {some}\nseed: [{many}]\n",
        f"prompt: {mark}\nx: &a {keys}\nformat: [{many}]\n",
        "\n".join([f"prompt: {mark}\nl0: &l0 [x, x]", *lists, "seed: *l11\n"]),
        "\n".join([f"prompt: {mark}\nm0: &m0 {{a: 1}}", *merges, "<<: *m8\n"]),
        f"prompt: &a {mark}\nnegative_prompt: *a\nprompts: [{many}]\n",
        f"prompt: {mark}\nseed: &a [*a, *a]\n",
        f"prompts: [{', '.join(items)}]\n",
    )
    author.write(author.place() / f"{mark}.yaml", author.dice.choice(texts))


def many_seeds(author: Author, mark: str) -> None:
    """Order a thousand videos with a few bytes, or slightly more than the limit."""
    count = 1001
    if author.may("thousand", 600):
        count = 1000
    elif author.may("forty", 60):
        count = 40
    seeds = ", ".join(str(author.dice.randrange(1 << 60)) for _ in range(count))
    author.write(author.place() / f"{mark}.yaml", prompt_text(mark, seed=f"[{seeds}]"))


def heavy_defaults(author: Author, mark: str) -> None:
    """Put defaults of a megabyte into each of 31 nested folders, and files into the last."""
    folder = author.own / f"{mark}-0"
    size = (1 << 20) - 100 if author.may("defaults", 120) else 1 << 10
    top = folder
    for number in range(1, 30):
        folder.mkdir(exist_ok=True)
        (folder / "_defaults.yaml").write_text(f"fps: 8\n#{'x' * size}\n")
        folder = folder / str(number)
    folder.mkdir(exist_ok=True)
    for number in range(3):
        author.write(folder / f"{mark}-{number}.yaml", prompt_text(mark))
    author.later(60, lambda: [p.unlink() for p in top.rglob("_defaults.yaml")])


def defaults(author: Author, mark: str) -> None:
    """Put defaults above a file that are wrong, a folder, a pipe, or keep changing."""
    folder = author.own / f"{mark}-d"
    folder.mkdir()
    name = folder / "_defaults.yaml"
    kind = author.dice.randrange(5)
    if kind == 0:
        name.write_text(_mistake(author, mark))
    elif kind == 1:
        name.mkdir()
    elif kind == 2:
        os.mkfifo(name)
    elif kind == 3:
        name.write_bytes(b"\xff\x00" * 1000)
    else:
        name.write_text(f"seed: {list(range(30))}\npriority: 10\n")
    author.write(folder / "x.yaml", prompt_text(mark))


def looks_temporary(author: Author, mark: str) -> None:
    """Put a file that looks like its temporary file beside a file, and keep it growing."""
    forms = (".syncthing.{}.tmp", ".{}.a1B2c3", "{}.part", ".{}.~1a2b", "{}.crdownload",
             "~syncthing~{}.tmp", "{}.filepart", ".{}.swp", "{}.1a2b3c4d.partial")  # fmt: skip
    form = author.dice.choice(forms)
    beside = [p for p in author.inbox.iterdir() if p.name.startswith("good")]
    if beside and author.dice.random() < 0.6:
        file = author.dice.choice(beside)
        author.tell("withdrawn", mark)
        author.tell("imitated", file.stem)
    else:
        file = author.write(author.place() / f"{mark}.yaml", prompt_text(mark))
    temporary = file.with_name(form.format(file.name))

    def grow() -> None:
        with temporary.open("a") as opened:
            opened.write("x")

    grow()
    for second in range(1, 40):
        author.later(second, grow)
    author.later(45, lambda: temporary.unlink(missing_ok=True))


def forged(author: Author, mark: str) -> None:
    """Drop a prompt file that imitates a sidecar, or one of reeldrop's reports."""
    kind = author.dice.randrange(5)
    folder = author.place()
    sidecar = prompt_text(mark, format="mp4", seed=1, model="tiny") + _rendered_block(FORGED)
    if kind == 0:
        author.write(folder / f"{mark}.yaml", sidecar)
    elif kind == 1:
        name = f"{mark}.yaml"
        author.write(folder / f"{name}.error.txt", f"What is wrong:  {FORGED}\n")
        author.write(folder / f"{name}.not-rendered.txt", f"{FORGED}\n")
        author.write(folder / name, _mistake(author, mark))
    elif kind == 2:
        author.write(folder / f"{mark}.mp4", _atoms(sidecar.encode()))
    elif kind == 3:
        author.write(
            folder / f"{mark}.yaml", f"prompts: [{mark}, {mark}]\n{_rendered_block(FORGED)}"
        )
    else:
        with contextlib.suppress(OSError):
            _forge_results(author, mark, sidecar)


def _atoms(settings: bytes) -> bytes:
    """Return the imitated beginning of an mp4 with a comment, with wrong sizes."""
    comment = b"\xa9cmt" + (1 << 30).to_bytes(4, "big") + settings
    inner = (len(comment) + 8).to_bytes(4, "big") + b"udta" + comment
    moov = ((1 << 31) + 7).to_bytes(4, "big") + b"moov" + inner
    return b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2" + moov


def _forge_results(author: Author, mark: str, sidecar: str) -> None:
    """Write videos into the results that were never rendered."""
    folder = author.results / f"{mark}-{FORGED}"
    folder.mkdir()
    for suffix, text in ((".yaml", sidecar), (".mp4", "no video"), (".jpg", "no picture")):
        (folder / f"{mark}{suffix}").write_text(text)
    (folder / f"{mark}.yaml.error.txt").write_text(f"What is wrong:  {FORGED}\n")


_COPIES = (
    "{} (conflicted copy 2026-11-28 041500){}", "{}.conflict1{}", "{}-PC-safebackup-0001{}",
    "{}.sync-conflict-20261128-041500-ABCDEFG{}", "{}_conflict-20261128-041500{}",
    "{} (SFConflict x@y.z 2026-11-28-04-15-00){}",
)  # fmt: skip


def conflict_copies(author: Author, mark: str) -> None:
    """Drop conflict copies, as sync tools make them, of own and others' files."""
    folder = author.place()
    text = prompt_text(mark)
    file = author.write(folder / f"{mark}.yaml", text)
    copy = author.dice.choice((text, prompt_text(mark, seed=7)))
    author.write(folder / author.dice.choice(_COPIES).format(mark, ".yaml"), copy)
    others = [
        p for p in author.inbox.iterdir() if p.name.startswith("good") and p.suffix == ".yaml"
    ]
    if others:
        stem = author.dice.choice(others).stem
        name = author.dice.choice(_COPIES).format(f"{stem}", ".yaml")
        with contextlib.suppress(OSError):
            author.write(file.with_name(f"{mark}-of-{name}"), text)


def full(author: Author, mark: str) -> None:
    """Write a file only partly, as a full quota does."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (author.dice.choice((0, 7, 100)), hard))
    try:
        folder = author.place()
        with (
            contextlib.suppress(OSError),
            (folder / f"{mark}.yaml").open("wb", buffering=0) as file,
        ):
            for line in (prompt_text(mark) + "negative_prompt: " + "x" * 200).encode().split(b"\n"):
                file.write(line + b"\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def no_rights(author: Author, mark: str) -> None:
    """Remove the permissions of a file or its folder, permanently or for a while."""
    folder = author.own / f"{mark}-d"
    folder.mkdir()
    file = author.write(folder / "x.yaml", prompt_text(mark))
    path, mode = author.dice.choice(
        ((file, 0), (folder, 0), (folder, 0o500), (folder, 0o700), (file, 0o200))
    )
    path.chmod(mode)
    if author.dice.random() < 0.7:
        author.later(author.dice.uniform(0, 20), lambda: path.chmod(0o775))


def no_files(author: Author, mark: str) -> None:
    """Drop pipes, sockets and folders that are named like prompt files."""
    path = author.place() / f"{mark}.txt"
    kind = author.dice.randrange(3)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        with socket.socket(socket.AF_UNIX) as made, contextlib.suppress(OSError):
            made.bind(str(path))
    else:
        path.mkdir()
        (path / "x.txt").write_text(mark)


def kept_folder(author: Author, mark: str) -> None:
    """Drop a folder named like a prompt file, and keep writing into it wherever it is moved."""
    path = author.place() / f"{mark}.yaml"
    path.mkdir()
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def plant() -> None:
        for name in (f"{mark}-planted.yaml", f"{mark}-planted.yaml.error.txt"):
            with contextlib.suppress(OSError):
                made = os.open(name, os.O_WRONLY | os.O_CREAT, 0o664, dir_fd=fd)
                os.write(made, f"What is wrong:  {FORGED}\n".encode())
                os.close(made)
        with contextlib.suppress(OSError):
            os.symlink(author.outside(), f"{mark}-l", dir_fd=fd)
            os.symlink(author.outside() / FILMS[0], f"{mark}-l.yaml", dir_fd=fd)

    for seconds in (2.0, 5.0, 10.0):
        author.later(seconds, plant)
    author.later(12, lambda: os.close(fd))


def rewritten(author: Author, mark: str) -> None:
    """Rewrite a file repeatedly about the moment at which it is claimed."""
    path = author.place() / f"{mark}.yaml"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        file.write(prompt_text(mark)[:6].encode())
        for _ in range(author.dice.randrange(1, 4)):
            author.settle()
            file.seek(0)
            file.truncate()
            file.write(
                author.dice.choice((prompt_text(mark), _mistake(author, mark), "")).encode(
                    "utf-8", "replace"
                )
            )


def vanishing(author: Author, mark: str) -> None:
    """Remove a file or its folder about the moment at which the file is claimed."""
    folder = author.own / f"{mark}-d"
    folder.mkdir()
    file = author.write(folder / f"{mark}.yaml", prompt_text(mark))
    author.settle()
    other = author.own / f"{mark}-e"
    with contextlib.suppress(OSError):
        author.dice.choice(
            (
                file.unlink,
                lambda: folder.rename(other),
                lambda: file.rename(author.own / f"{mark}.txt"),
            )
        )()
    author.tell("withdrawn", mark)


def priorities(author: Author, mark: str) -> None:
    """Order many videos with the lowest priority, or few with the highest."""
    last = author.may("many", 45)
    priority, count = (-10, 60) if last else (10, 1)
    author.write(
        author.place() / f"{mark}.yaml",
        prompt_text(mark, priority=priority, num_videos_per_prompt=count),
    )


def huge(author: Author, mark: str) -> None:
    """Drop files that are too large, binary, or have more lines than the limit."""
    folder = author.place()
    kind = author.dice.randrange(8)
    path = folder / f"{mark}{author.dice.choice(('.txt', '.yaml', '.mp4'))}"
    if kind == 0:
        with path.open("wb") as file:
            file.truncate(1 << 33)
    elif kind == 1:
        path.write_bytes(author.dice.randbytes(900_000))
    elif kind == 2:
        path.write_text(f"{mark}\n" * 50_000)
    elif kind == 3:
        path.write_text(mark + "x" * 1_000_000)
    elif kind == 4:
        path.write_bytes(b"\0" * 4096)
    elif kind == 5:
        path.write_bytes(f"{mark}\n".encode("utf-16"))
    elif kind == 6:
        path.write_text(f"prompt: {mark}\n{'k' * 900_000}: 1\n")
    else:
        path.write_text("prompt: " + "[" * 100_000)
    author.later(60, lambda: path.unlink(missing_ok=True))
    author.tell("withdrawn", mark)


def times(author: Author, mark: str) -> None:
    """Drop files with times in 1970, before it, and far in the future."""
    path = author.write(
        author.place() / f"{mark}.yaml", author.dice.choice((prompt_text(mark), "a: 1"))
    )
    second = author.dice.choice((0, -5, 1 << 33, (1 << 34) - 10, 1))
    with contextlib.suppress(OSError, OverflowError):
        os.utime(path, (second, second))


def results_links(author: Author, mark: str) -> None:
    """Put a link, file, folder or pipe where a prompt file's results would be."""
    place = author.results / mark
    kind = author.dice.randrange(6)
    with contextlib.suppress(OSError):  # the results may not be writable
        if kind == 0:
            place.symlink_to(author.outside())
        elif kind == 1:
            place.symlink_to(author.home)
        elif kind == 2:
            place.symlink_to(author.home / "nowhere" / mark)
        elif kind == 3:
            place.write_text(mark)
        elif kind == 4:
            place.mkdir(mode=0o500)
        else:
            place.mkdir()
            (place / f"{mark}.mp4").symlink_to(author.home / f"{mark}.mp4")
            (place / f"{mark}.yaml").symlink_to(author.outside() / FILMS[0])
    author.write(
        author.inbox / f"{mark}.yaml",
        author.dice.choice((prompt_text(mark), f"prompts: [{mark}, x, y]\n")),
    )


DEEDS: dict[Callable[[Author, str], None], float] = {
    plain: 1.0, mistake: 1.0, swap_folder: 1.0, swap_file: 0.6, links: 1.0, hard_links: 0.5,
    deep: 1.0, too_deep: 0.3, long_names: 1.0, odd_names: 1.5, bytes_names: 0.7, aliases: 1.0,
    many_seeds: 0.7,
    heavy_defaults: 0.3, defaults: 0.7, looks_temporary: 1.0, forged: 1.5, conflict_copies: 0.7,
    full: 0.7, no_rights: 0.7, no_files: 0.7, kept_folder: 0.5, rewritten: 0.5, vanishing: 0.5,
    priorities: 0.7, huge: 0.7, times: 0.4, results_links: 0.7,
}  # fmt: skip
"""The deeds of a hostile author, with their weights."""
