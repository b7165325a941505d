"""What the user reads when a suite has been run."""

from __future__ import annotations

from .run import Outcome

ERRORS_SHOWN = 10


def of_run(outcome: Outcome) -> str:
    """Rows, where the time went, what was compiled, what was left out, what failed."""
    seconds = sum(outcome.watch.seconds.values())
    lines = [f"{outcome.path}: {outcome.rows} new rows in {seconds:.0f} s"]
    if outcome.rows:
        lines.append(f"  a row takes {outcome.watch.per_row(outcome.rows)}")
    for peer, count in outcome.compilations.items():
        plural = "" if count == 1 else "s"
        lines.append(f"  {peer}: {count} compilation{plural}, {outcome.compilation_s[peer]:.1f} s")
    lines += [f"  note ({count} x): {note}" for note, count in outcome.notes.items()]
    lines += [f"  error: {error}" for error in outcome.errors[:ERRORS_SHOWN]]
    if len(outcome.errors) > ERRORS_SHOWN:
        rest = len(outcome.errors) - ERRORS_SHOWN
        lines.append(f"  and {rest} more errors, in {outcome.path.stem}.errors.csv")
    return "\n".join(lines)
