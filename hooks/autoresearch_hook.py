"""Hooks of coding agents (Claude Code, Codex) for an autoresearch session. Standard library, Python 3.7 and newer.

Called with one event as JSON on standard input; answers with JSON on standard output, or with nothing. It knows the
session only from `.autoresearch/brief.json`, which every autoresearch command writes anew. Whatever is wrong, it says
nothing and leaves with status 0: a broken hook must never block an agent.

  SessionStart      where the session is, as facts
  UserPromptSubmit  `/autoresearch ...` arms this agent session: see Stop
  PreToolUse        refuses edits of the journal, and of immutable files while the session goes on, with the reason
  Stop              keeps an armed agent session going, until STOP, a stop condition, or its idle budget is spent
"""

import contextlib
import json
import os
import re
import stat
import sys
import time
from pathlib import Path

JOURNAL = "autoresearch.jsonl"
STATE = ".autoresearch"

IDLE_BUDGET = 5
"""How often in a row an agent that stops is sent on without a new line in the journal."""

FOR_THE_USER = "A message of autoresearch that says to change or move it is for the user: tell them."

STARTS = re.compile(r"\s*[/$](?:autoresearch:)?autoresearch\b(?![-:])(.*)", re.S)


def main():
    event = json.load(sys.stdin)
    name, project = event.get("hook_event_name"), os.environ.get("CLAUDE_PROJECT_DIR")
    if "plugin" in sys.argv[1:] and has_own_hooks(Path(project or event.get("cwd") or "."), claude=bool(project)):
        return None
    if name == "UserPromptSubmit":
        return on_prompt(event)
    if name == "PreToolUse":
        return on_tool(event)
    root = find_root(event.get("cwd")) or find_root(project)
    brief = read_brief(root) if root else None
    if brief is None:
        return None
    if name == "SessionStart":
        return on_start(event, root, brief)
    if name == "Stop":
        return on_stop(event, root, brief)
    return None


# ---- the events


def on_start(event, root, brief):
    make_callable(brief.get("bin"))
    lines = [brief["text"], *work_in_progress(root, brief), *set_back(root, brief)]
    armed = read_mark(event)
    if armed is not None:
        lines.append(f"This conversation runs the loop of the skill autoresearch{goal_of(armed)}.")
        lines.append("Its rules are in the skill's SKILL.md; the whole state: autoresearch resume.")
    text = "\n".join([f"State of the autoresearch session in {root}, from its journal:", *lines])
    return {"hookSpecificOutput": {"hookEventName": "SessionStart", "additionalContext": text}}


def on_prompt(event):
    asked = STARTS.match(str(event.get("prompt") or ""))
    if asked:
        arm(event, asked.group(1))


def on_tool(event):
    tool, given = event.get("tool_name"), event.get("tool_input") or {}
    if tool == "Skill" and str(given.get("skill", "")).split(":")[-1] == "autoresearch":
        return arm(event, str(given.get("args") or ""))
    for name in targets(tool, given):
        path = Path(event.get("cwd") or ".", Path(name).expanduser()).resolve()
        root = find_root(path.parent)
        brief = read_brief(root) if root else None
        reason = brief and protected(path.relative_to(root), root, brief)
        if reason:
            decision = {"permissionDecision": "deny", "permissionDecisionReason": reason}
            return {"hookSpecificOutput": {"hookEventName": "PreToolUse", **decision}}
    return None


def on_stop(event, root, brief):
    armed = read_mark(event)
    if armed is None or has_ended(root, brief):
        return None
    if any(task.get("status") == "running" for task in event.get("background_tasks") or []):
        return None  # its end wakes the agent
    seen = progress(root)
    idle = armed.get("idle", 0) + 1 if armed.get("seen") == seen else 1
    if idle > IDLE_BUDGET:
        return None
    write_mark(event, {**armed, "idle": idle, "seen": seen})
    told = work_in_progress(root, brief) or [f"Next: {brief.get('next', 'autoresearch next')}."]
    reason = (
        f"The autoresearch loop in {root} has not ended{goal_of(armed)}: there is no file STOP, and no stop condition "
        f"holds. {' '.join(told)} The user asked for experiments without questions in between. If the goal is reached, "
        f"or the user has said to stop, the loop is ended by writing the reason into {root / 'STOP'}."
    )
    return {"decision": "block", "reason": reason}


# ---- what is protected


def protected(path, root, brief):
    """Return why a path, relative to the workspace, must not be written; None when it may."""
    name = path.as_posix()
    if name == JOURNAL or path.parts[:1] == (STATE,):
        reason = f"{name} belongs to the record of the autoresearch session, which only its commands write."
        return f"{reason} {FOR_THE_USER}"
    immutable = brief.get("immutable", [])
    fixed = any(fixed in (".", name) or name.startswith(f"{fixed}/") for fixed in immutable)
    if fixed and goes_on(root, brief):
        return (
            f"{name} is immutable in this autoresearch session: it belongs to how experiments are measured, and is "
            f"compared with its hash before each. What experiments may change: {', '.join(brief.get('mutable', []))}. "
            f"{FOR_THE_USER}"
        )
    return None


def targets(tool, given):
    """Return the paths that a tool call would write, as far as its words show."""
    command = given.get("command", given.get("cmd"))
    command = " ".join(command) if isinstance(command, list) else command
    if tool == "apply_patch" or "*** Begin Patch" in (command or ""):
        text = "\n".join(str(value) for value in given.values())
        return re.findall(r"^\*\*\* (?:(?:Add|Update|Delete) File|Move to): (.+?)\s*$", text, re.M)
    if command is not None:
        return written_by_shell(command)
    return [str(given[key]) for key in ("file_path", "notebook_path") if given.get(key)]


def written_by_shell(command):
    """Return the paths that a shell command writes in an obvious way; what hides from this, the hashes find."""
    # What goes into a program or stands in a comment is no command, and may have a single quotation mark in it.
    document = r"(?<!<)(<<-?[ \t]*(['\"]?)([\w.-]+)\2[^\n]*\n)(?:.*?\n)??[ \t]*\3[ \t]*$"
    command = re.sub(document, without_document, command, flags=re.S | re.M)
    command = re.sub(r"(?m)^[ \t]*#.*$", "", command)
    words, whole = shell_words(command)
    if not whole:  # a quotation mark in a comment behind a command: then each line by itself
        words = [word for line in command.split("\n") for word in (*shell_words(line)[0], "\n")]
    found, simple = [], []
    words = [*words, ";"]
    for index, word in enumerate(words):
        if word and set(word) <= set("<>&|") and ">" in word:
            found += words[index + 1 : index + 2]
        elif word and set(word) <= set(";|&()<\n"):
            found += written_by_words(simple)
            simple = []
        else:
            simple.append(word)
    return found


def without_document(found):
    """Return the beginning of a here-document; all of it where a shell reads it, since then it is commands."""
    before = found.string[: found.start()].rpartition("\n")[2]
    shell = r"(?:^|[\s;&|(/])(?:ba|da|z|k)?sh(?:\s[^;&|]*)?$"
    return found[0] if re.search(shell, before) or re.search(shell, found[1].strip()) else found[1]


def shell_words(text):
    """Return the words of a shell command, and whether its quotation marks are in pairs; else the words before."""
    import shlex

    lexer = shlex.shlex(text, posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace, lexer.commenters = " \t\r", ""
    words = []
    try:
        for word in lexer:
            words.append(word)
    except ValueError:
        return words, False
    return words, True


def written_by_words(words):
    while words and ("=" in words[0] or words[0] in ("sudo", "command", "env", "exec", "nohup", "then", "do", "else")):
        words = words[1:]
    name = words[0].split("/")[-1] if words else ""
    paths = [word for word in words[1:] if not word.startswith("-")]
    if name in ("rm", "mv", "tee", "truncate", "shred", "unlink", "touch", "chmod", "patch"):
        return paths
    if name in ("cp", "install", "ln", "rsync"):
        return paths[-1:]
    if name in ("sed", "perl", "ruby") and any(re.match(r"-[a-zA-Z]*i|--in-place", word) for word in words[1:]):
        return paths
    if name == "dd":
        return [word[3:] for word in words if word.startswith("of=")]
    return []


# ---- the state of the session


def find_root(folder):
    """Return the nearest folder upwards with a journal, or None."""
    if not folder:
        return None
    folder = Path(folder).resolve()
    return next((root for root in (folder, *folder.parents) if (root / JOURNAL).is_file()), None)


def read_brief(root):
    """Return what the last command wrote about the session, or None."""
    brief = read_json(root / STATE / "brief.json")
    return brief if isinstance(brief, dict) and isinstance(brief.get("text"), str) else None


def has_ended(root, brief):
    """Whether the file STOP or a stop condition holds the session up."""
    return (root / "STOP").exists() or brief.get("stop") or time.time() >= (brief.get("ends") or float("inf"))


def goes_on(root, brief):
    """Whether the session is worked on: nothing holds it up, and its branch is checked out, or that cannot be told."""
    branch, head = brief.get("branch"), read_head(root)
    known = branch and head and head != "ref: refs/heads/.invalid"  # so where refs are kept otherwise than in files
    return not has_ended(root, brief) and (not known or head == f"ref: refs/heads/{branch}")


def read_head(root):
    """Return what git's file HEAD says, without asking git, which takes long; None where it cannot be read."""
    for folder in (root, *root.parents):
        git = folder / ".git"
        try:
            if git.is_file():  # of a work tree or a submodule: it names the folder
                git = folder / git.read_text(encoding="utf-8").partition(":")[2].strip()
            if git.is_dir():
                return (git / "HEAD").read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return None
    return None


def work_in_progress(root, brief):
    """Return what has happened since the brief was written, as a sentence or none."""
    now = read_json(root / STATE / "running.json")
    if isinstance(now, dict):
        what = f"Experiment {now.get('experiment')} (seed {now.get('seed')})"
        if is_alive(now.get("pid")):
            return [f"{what} is being measured right now; its verdict comes with: autoresearch wait."]
        return [f"{what} was interrupted; autoresearch resume repairs that and tells the whole state."]
    if (root / JOURNAL).stat().st_size != brief.get("journal_bytes"):
        return ["The journal has grown since; autoresearch resume tells the whole state."]
    return []


def set_back(root, brief):
    """Return that the session's branch does not contain its best experiment any more, as a sentence or none."""
    import subprocess

    tip, branch = brief.get("tip"), brief.get("branch")
    if not tip or not branch:
        return []
    command = ["git", "-C", str(root), "merge-base", "--is-ancestor", tip, f"refs/heads/{branch}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if done.returncode != 1:
        return []
    return ["The branch does not contain the best experiment any more; autoresearch resume says how to bring it back."]


def progress(root):
    """Return something that is different whenever the session has moved."""
    running = root / STATE / "running.json"
    return f"{(root / JOURNAL).stat().st_size} {running.stat().st_mtime if running.exists() else ''}"


def has_own_hooks(folder, claude):
    """Whether a project has these hooks in its own settings for this agent, so that the plugin's would be a second
    set. Only Claude Code says which project it works in."""
    names = (".claude/settings.json", ".claude/settings.local.json") if claude else (".codex/hooks.json",)
    settings = [folder / name for name in names]
    return any(path.is_file() and "autoresearch_hook.py" in path.read_text() for path in settings)


def make_callable(folder):
    """Put the folder of the program last on the path of the agent's commands, where Claude Code lets a hook do that."""
    env_file = os.environ.get("CLAUDE_ENV_FILE")
    paths = os.environ.get("PATH", "").split(os.pathsep)
    if not env_file or not folder or any(Path(path, "autoresearch").is_file() for path in paths if path):
        return
    if Path(folder, "autoresearch").is_file():
        with Path(env_file).open("a") as file:
            file.write(f'export PATH="$PATH:{folder}"\n')


# ---- which agent sessions are armed: a file for each, outside of the workspace, which may not be there yet


def arm(event, goal):
    write_mark(event, {"goal": " ".join(goal.split())[:300], "idle": 0, "seen": ""})


def mark_path(event):
    """Return the file of an agent session; None without a session id that can be a file name."""
    session = str(event.get("session_id") or "")
    folder = Path(os.environ.get("TMPDIR") or "/tmp", f"autoresearch-agents-{os.getuid()}")
    return folder / f"{session}.json" if re.match(r"[A-Za-z0-9_-]{1,100}\Z", session) else None


def is_ours(folder):
    """Return whether a folder is this user's alone: in a temporary folder that all share, another one can have made it
    first, and put links into it to files of this user."""
    try:
        about = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and not about.st_mode & 0o077


def read_mark(event):
    path = mark_path(event)
    if path is None or not is_ours(path.parent):
        return None
    mark = read_json(path)
    return mark if isinstance(mark, dict) else None


def write_mark(event, mark):
    path = mark_path(event)
    if path is None:
        return
    with contextlib.suppress(FileExistsError):
        path.parent.mkdir(mode=0o700)
    if is_ours(path.parent):
        new = path.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(mark))
        new.replace(path)


def goal_of(mark):
    return f' (begun with: "{mark["goal"]}")' if mark.get("goal") else ""


def read_json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def is_alive(pid):
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (OSError, TypeError, ValueError):
        return False
    return True


if __name__ == "__main__":
    try:
        answer = main()
    except Exception:  # whatever it is, the agent must go on
        answer = None
    try:
        if answer is not None and sys.stdout is not None:
            print(json.dumps(answer), flush=True)
    except OSError:  # nobody listens
        os._exit(0)
    sys.exit(0)
