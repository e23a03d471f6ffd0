"""Makes questions and scripted paths of BIG-bench's date understanding, one of the paper's tasks:

    date/questions.jsonl   id, split, question, gold (MM/DD/YYYY)
    date/paths.jsonl       question_id, style, teacher, text

DIR holds `date_understanding.json` of https://github.com/google/BIG-bench (Apache-2.0): 41 situations ("Yesterday was
April 30, 2021."), each with the same nine questions. Whole situations go to train, dev or test, so that no test question
is a training question in other words. The teacher is a script: it takes today's date from the answers to the training
questions, writes three styles and is wrong in a known share of its paths (`WRONG`), by a day, a month or a year.

Run: python examples/real/make_date.py --data DIR
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path
from random import Random

HERE = Path(__file__).parent
FILE = "date_understanding.json"
DEV, TEST = 3, 13  # situations, of nine questions each; the other 25 are for training
WRONG = {"vanilla": 0.22, "chain_of_thought": 0.12, "facts": 0.19}  # style -> share of wrong paths
ASKED = {  # what a question asks for -> years, months and days from today
    "today": (0, 0, 0),
    "tomorrow": (0, 0, 1),
    "yesterday": (0, 0, -1),
    "10 days ago": (0, 0, -10),
    "a month ago": (0, -1, 0),
    "one year ago from today": (-1, 0, 0),
    "one week ago from today": (0, 0, -7),
    "one week from today": (0, 0, 7),
    "24 hours later": (0, 0, 1),
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, required=True, metavar="DIR")
    options.add_argument("--to", type=Path, default=HERE / "date")
    chosen = options.parse_args()
    found = next((place for place in (chosen.data / FILE, chosen.data / "bigbench" / FILE) if place.exists()), None)
    if found is None:
        sys.exit(f"{chosen.data} holds no {FILE}; it is part of https://github.com/google/BIG-bench")
    situations: dict[str, dict[str, str]] = defaultdict(dict)  # situation -> what is asked -> MM/DD/YYYY
    for row in json.loads(found.read_text(encoding="utf-8"))["examples"]:
        situation, _, rest = row["input"].partition(" What is the date ")
        situations[situation][rest.removesuffix(" in MM/DD/YYYY?")] = max(
            row["target_scores"], key=row["target_scores"].get
        )
    order = sorted(situations)
    Random(0).shuffle(order)
    questions: list[dict[str, str]] = []
    paths: list[dict[str, str]] = []
    unlike = 0
    for number, situation in enumerate(order):
        split = "dev" if number < DEV else "test" if number < DEV + TEST else "train"
        today = read(situations[situation]["today"])
        for asked, gold in situations[situation].items():
            name = f"date-{len(questions)}"
            text = f"{situation} What is the date {asked} in MM/DD/YYYY?"
            questions.append({"id": name, "split": split, "question": text, "gold": gold})
            if split != "train":
                continue
            unlike += shown(moved(today, *ASKED[asked])) != gold
            for style, share in WRONG.items():
                draw = Random(f"{name} {style}")
                slip = draw.choice([(0, 0, 1), (0, 0, -1), (0, 1, 0), (1, 0, 0)]) if draw.random() < share else None
                written = write(today, asked, style, slip)
                paths.append({"question_id": name, "teacher": "scripted", "style": style, "text": written})
    chosen.to.mkdir(parents=True, exist_ok=True)
    for kind, lines in (("questions", questions), ("paths", paths)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (chosen.to / f"{kind}.jsonl").write_text(text, encoding="utf-8")
    print(f"wrote {len(questions)} questions and {len(paths)} paths to {chosen.to}")
    print(f"{unlike} training answers of the data set are not what the calendar says of its own today")


def write(today: date, asked: str, style: str, slip: tuple[int, int, int] | None = None) -> str:
    """One solution; with `slip`, years, months and days that its last calculation is off by.

    >>> print(write(date(2021, 5, 1), "10 days ago", "chain_of_thought"))
    Today is 05/01/2021.
    10 days ago: 04/21/2021.
    The answer is 04/21/2021.
    >>> print(write(date(2021, 5, 1), "a month ago", "facts"))
    day 01, month 05, year 2021
    a month ago: month - 1
    day 01, month 04, year 2021
    The answer is 04/01/2021.
    """
    years, months, days = ASKED[asked]
    answer = moved(today, years, months, days)
    if slip:
        answer = moved(answer, *slip)
    closing = f"The answer is {shown(answer)}."
    if style == "vanilla":
        return closing
    if style == "chain_of_thought":
        above = [f"Today is {shown(today)}."]
        if asked != "today":
            above.append(f"{asked.removesuffix(' from today').capitalize()}: {shown(answer)}.")
        return "\n".join([*above, closing])
    change = next(
        (f"{unit} {by:+d}" for unit, by in zip(("year", "month", "day"), ASKED[asked], strict=True) if by), ""
    )
    parts = [f"day {each:%d}, month {each:%m}, year {each.year}" for each in (today, answer)]
    told = f"{asked}: {change.replace('+', '+ ').replace('-', '- ')}" if change else "today: no change"
    return "\n".join([parts[0], told, parts[1], closing])


def moved(day: date, years: int, months: int, days: int) -> date:
    """The day that many years, months and days on; a month's last day where it has no such day.

    >>> moved(date(2016, 2, 29), -1, 0, 0)
    datetime.date(2015, 2, 28)
    """
    month = day.month - 1 + months + 12 * (day.year + years)
    first = date(month // 12, month % 12 + 1, 1)
    following = date((month + 1) // 12, (month + 1) % 12 + 1, 1)
    return first + timedelta(days=min(day.day, (following - first).days) - 1 + days)


def shown(day: date) -> str:
    return f"{day:%m/%d}/{day.year}"


def read(text: str) -> date:
    month, day, year = text.split("/")
    return date(int(year), int(month), int(day))


if __name__ == "__main__":
    main()
