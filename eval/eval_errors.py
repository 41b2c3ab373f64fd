"""The one exception of eval/: a foreseeable mistake, told in a sentence that says what to do."""

import sys


class EvalError(Exception):
    """Bad input or options; the message names the file or option and what to do."""


def run_main(main):
    """Run `main(argv=None) -> int` as a program: foreseeable errors become one line and exit status 1."""
    try:
        status = main()
    except (EvalError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        status = 1
    sys.exit(status)
