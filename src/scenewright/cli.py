"""The command `scenewright`: subcommands are imported when they are called, so `--help` is quick."""

import sys
from collections.abc import Sequence
from difflib import get_close_matches

from cyclopts import App, CycloptsError

from scenewright import __version__
from scenewright.errors import UserError

COMMANDS = {
    "generate": "Draw scenes into a folder; run it again to resume.",
    "compose": "Draw maps of a caption, keep the best, draw its picture.",
    "lint": "Say what will go wrong with scenes before drawing them.",
    "show": "Draw a layout, or a picture with its layout, with a legend.",
    "replay": "Draw a picture again from its record and say whether it matches.",
    "models": "List the models you can name, or print one model's card.",
    "world": "Render the reference world.",
    "transfer": "Make a synthesiser of your own classes from a few labelled pictures.",
    "train": "Rebuild an embedded model from its recipe.",
    "eval": "Compare methods on equal terms, in a folder that can be resumed.",
    "bench": "Measure methods and models.",
    "demo": "Draw a gallery of scenes by every method.",
}

_FILES = {"eval": "evaluate"}  # "eval" is a word of Python

app = App(
    name="scenewright",
    help="Say what, draw where: controllable image synthesis with diffusion models.",
    version=__version__,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
for _name, _help in COMMANDS.items():
    app.command(f"scenewright.commands.{_FILES.get(_name, _name)}:app", name=_name, help=_help)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 findings or failed scenes, 2 a user's mistake, 130 interrupted."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; a user's mistake is one line on stderr, never a traceback."""
    try:
        _check_command(arguments[:1])
        result = app(list(arguments), exit_on_error=False, print_error=False)
    except (UserError, CycloptsError) as error:
        print(f"scenewright: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("scenewright: interrupted; what is finished is whole, run the same command to resume", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output left: say nothing, not even at exit
        return 141
    return result if isinstance(result, int) else 0


def _check_command(first: Sequence[str]) -> None:
    """Refuse an unknown command here: cyclopts would import every command to list them."""
    for word in first:
        if not word.startswith("-") and word not in COMMANDS:
            near = get_close_matches(word, COMMANDS, n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise UserError(f"there is no command {word!r}; choose from {', '.join(COMMANDS)}{meant}")


if __name__ == "__main__":
    main()
