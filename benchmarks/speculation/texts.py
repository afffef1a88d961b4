"""Prompts with answers: some quote what they were given, others repeat nothing."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Text:
    """A prompt and its answer; `quotes` says whether the answer quotes the prompt."""

    name: str
    quotes: bool
    prompt: str
    answer: str


_REPORT = """\
Minutes of the harbour board, 14 March. The chair opened the meeting at nine. The dredging of the
northern basin was finished eleven days late because the barge "Mathilde" lost an anchor in the
storm of 2 February. The treasurer reported that the reserve fund stands at 412,000 crowns, which
is 38,000 crowns below the plan. The board resolved to raise the mooring fee for vessels longer
than twelve metres from 90 to 110 crowns a week, beginning on 1 May. The proposal to lease the old
customs house to the rowing club was deferred, since the surveyor has not yet examined its roof.
"""

_CODE = '''\
def load_settings(path, defaults=None):
    """Read settings from a file, over defaults."""
    settings = dict(defaults or {})
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            name, separator, value = line.partition("=")
            if not separator:
                raise ValueError(f"{path}, line {number}: no '=' in {line!r}")
            settings[name.strip()] = value.strip()
    return settings
'''

_LIST = """\
The pass key of finch is 8882. The rain fell on the wooden pier. The pass key of heron is 1940. A
hammer was under the broken map. The pass key of plover is 7316. Nobody had opened the third door.
The pass key of curlew is 5527. The lamp in the hall burned until four. The pass key of avocet is
6094. Salt had eaten the hinges of the gate. The pass key of dunlin is 2281.
"""

TEXTS = (
    Text(
        "summary with quotations",
        True,
        _REPORT + "\nSummarise the minutes, and quote what was resolved word for word.\n\n",
        "The dredging of the northern basin was finished eleven days late because the barge "
        '"Mathilde" lost an anchor in the\nstorm of 2 February. The treasurer reported that the '
        "reserve fund stands at 412,000 crowns, which\nis 38,000 crowns below the plan. Resolved: "
        '"The board resolved to raise the mooring fee for vessels longer\nthan twelve metres from '
        '90 to 110 crowns a week, beginning on 1 May." Deferred: "The proposal to lease the old\n'
        "customs house to the rowing club was deferred, since the surveyor has not yet examined "
        'its roof."',
    ),
    Text(
        "code edit",
        True,
        _CODE
        + "\nAdd a parameter for the comment character, and give back the whole function.\n\n",
        _CODE.replace("defaults=None)", 'defaults=None, comment="#")').replace(
            'line.startswith("#")', "line.startswith(comment)"
        ),
    ),
    Text(
        "list of needles",
        True,
        _LIST + "\nWrite down all sentences about pass keys.\n\n",
        "The pass key of finch is 8882. The pass key of heron is 1940. The pass key of plover is "
        "7316. The pass key of curlew is 5527. The pass key of avocet is\n6094. The pass key of "
        "dunlin is 2281.\n",
    ),
    Text(
        "prose",
        False,
        "Describe a walk through a town that you have never seen before.\n\n",
        "Morning comes slowly to places where nobody expects you. I left the station by its "
        "smaller exit, past a kiosk selling plums, and followed whichever street sloped downhill. "
        "Shutters were opening; someone practised scales on a clarinet, "
        "stumbling each time at one awkward "
        "interval. Beyond the tannery the houses grew narrower, their plaster the colour of weak "
        "tea, until an archway let me out beside water so still that two cyclists seemed to ride "
        "upside down underneath themselves. An old woman nodded, as if my arrival confirmed her "
        "private forecast, then returned to shelling beans.",
    ),
    Text(
        "explanation",
        False,
        "Why do bells crack in winter?\n\n",
        "Bronze shrinks when it cools, though not evenly: thin lips lose heat sooner than thick "
        "shoulders, leaving tension locked inside. Cold metal also yields less before breaking, so "
        "a clapper striking hard during frost may start tiny fractures near casting flaws. Every "
        "later stroke flexes those edges, letting them creep forward until tone turns dull. "
        "Ringers therefore warm large instruments gently, or muffle hammers, "
        "whenever temperatures drop "
        "suddenly after mild weather.",
    ),
)
