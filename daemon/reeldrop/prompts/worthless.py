"""Lines that are certainly no prompts, and say nothing that belongs into a prompt file."""

from __future__ import annotations

import re

_HEADING = "is a heading, not a prompt"
_SEPARATOR = "is a separator, not a prompt"
LAYOUT = frozenset((_HEADING, _SEPARATOR))
"""What is no prompt, but may stand within one that has several lines."""

_LINES = (
    (re.compile(r"^(//|/\*|\*/|<!--|;\s)"), "is a comment of another language"),
    (re.compile(r"^([-=*_~#+.—–]\s?){2,}$"), _SEPARATOR),
    (re.compile(r"^(```|~~~)\w*$"), "is markup of Markdown"),
    (re.compile(r"^[\[\]{}()],?$"), "is a bracket of a list in code"),
    (re.compile(r"^\[\[[\w.]+\]\]$"), "is a heading of TOML"),
    (
        re.compile(r"^(scene|shot|clip|take|video|prompt)\s*#?\d{1,4}\s*[.:：]?$", re.I),
        _HEADING,
    ),
    (re.compile(r"^(BREAK|AND|ADD(COMM|BASE|ROW|COL))$"), "is a mark of A1111 between texts"),
    (re.compile(r"^\(\s*\".*\"\s*\)\.(blend|and)\("), "mixes texts as InvokeAI does"),
    (re.compile(r"^\w+\s*=\s*[\[{(]$"), "is the beginning of a list in code"),
    (
        re.compile(r"^((https?|ftp|file|data|magnet):\S+|www\.[!-~]+)$", re.I),
        "is an address, not a prompt",
    ),
    (
        re.compile(
            r"^(?!.*[\u3040-\u9fff\uac00-\ud7a3][a-z])"  # a text without spaces that names a file
            r"[^\s<>|/\\:，。]+\.(png|jpe?g|webp|gif|mp4|mov|webm|avi|mkv|txt|ya?ml)$",
            re.I,
        ),
        "is the name of a file, not a prompt",
    ),
    (
        re.compile(r"^[\"']?([a-z]:\\|\\\\\w)(\S*|\S[^<>|]*\.\w{2,5}[\"']?)$", re.I),
        "is a path, not a prompt",
    ),
    (re.compile(r"^[\"']?(~|\.{1,2})?/[^\s<>|]+\.\w{2,5}[\"']?$"), "is a path, not a prompt"),
    (re.compile(r"^file '.*'$"), "is a line for ffmpeg"),
    (re.compile(r"^(\d+:)?\d+:\d+[.,]\d+ +--> +(\d+:)?\d+:\d+[.,]\d+"), "is a time of subtitles"),
    (re.compile(r"^(WEBVTT\b|\[Script Info\]$)"), "is the head of subtitles"),
    (re.compile(r"^! *\{\w+\} *="), "is a macro of Wan2GP"),
    (
        re.compile(
            r"^(<(think|thinking|reasoning|answer|output|response|s)>$"
            r"|</(think|thinking|reasoning|answer|output|response|s)>"
            r"|<think(ing)?>\s*(ok(ay)?|alright|hmm|(we|i) need to|let me|let's|the user)\b)",
            re.I,
        ),
        "has a mark of a chat's model",
    ),
    (
        re.compile(
            r"^(?=.{1,300}$)(?:"
            r"(you|chatgpt|claude|gemini|copilot|grok|deepseek|kimi) said:|copy code|复制代码"
            r"|(.{0,80}[.!,—] ?)?(here(['’]s| is| are)|hier (ist|sind)|(below|these) (is|are))\b"
            r".{0,80}\bprompts?\b.{0,80}:"
            r"|(.{0,20}[，！。])?(以下|下面|这里|這裡|这些|這些|这是|這是).{0,40}提示[词詞].{0,40}[:：]"
            r"|(let me know if you\b.*\bmore\b|(let me know if|would you like me to|want me to"
            r"|feel free to|if you(['’]d| would)? (like|want),? I can)\b"
            r".*\b(prompts?|variations|versions|adjust|tweak|refine)\b).*[.!?])$",
            re.I,
        ),
        "is what a chat says around its prompts",
    ),
    (
        re.compile(
            r"^-+ ?original message ?-+$|^get outlook for (ios|android|mac)$"
            r"|^(sent from my|gesendet von meinem|von meinem|发自我的)\s?"
            r"(iphone|ipad|android|samsung|galaxy|pixel|huawei|xiaomi|手机|华为|小米)\b.{0,30}$",
            re.I,
        ),
        "is what mail programs write",
    ),
    (re.compile(r"^#(EXTM3U|EXTINF)"), "is a line of a playlist"),
)


def of_line(line: str) -> str | None:
    """Return what a line is, in words; None if it may be a prompt."""
    return next((what for pattern, what in _LINES if pattern.match(line)), None)
