"""The words of the generated texts; each is one token of the example's tokenizer."""

ANIMALS = tuple(
    """otter badger heron falcon beaver lynx weasel marten puffin raven osprey walrus gopher ferret
    magpie plover turtle salmon condor jackal coyote bison moose panda tiger zebra camel llama koala
    lemur gecko cobra viper toad newt crane stork egret robin finch swift eagle hawk owl shark whale
    squid trout perch pike carp eel crab prawn moth wasp hornet beetle cricket spider mole shrew
    hare goat""".split()
)
"""What has a pass key, a colour and a home: the keys of needles."""

COLOURS = tuple(
    """crimson amber violet indigo scarlet turquoise ivory ebony copper bronze silver golden emerald
    sapphire ruby coral olive maroon teal lavender peach lemon cobalt charcoal""".split()
)

CITIES = tuple(
    """Lisbon Oslo Vienna Prague Dublin Athens Warsaw Geneva Madrid Berlin Cairo Nairobi Lagos Tokyo
    Seoul Hanoi Delhi Lima Quito Havana Toronto Boston Chicago Sydney""".split()
)

PEOPLE = tuple(
    """farmer baker teacher sailor doctor miller tailor painter singer hunter soldier merchant
    carpenter gardener librarian shepherd captain student neighbour stranger traveller grandmother
    child cook poet guard""".split()
)

ADJECTIVES = tuple(
    """old young tall quiet clever tired happy lonely careful brave gentle strange famous patient
    hungry kind small large heavy bright narrow dusty green wooden broken empty distant cold warm
    soft""".split()
)

THINGS = tuple(
    """basket letter lantern ladder blanket kettle mirror hammer bottle candle wagon barrel rope map
    book coat drum bell stone apple loaf cheese clock chair table window door bucket shovel
    ribbon""".split()
)

PLACES = tuple(
    """river market forest village harbour bridge meadow tower church mill garden valley hill road
    station library kitchen cellar island field mountain lake square orchard castle""".split()
)

VERBS = tuple(
    """carried found lost painted repaired borrowed hid sold bought dropped cleaned watched counted
    followed remembered forgot lifted moved wrapped drew""".split()
)

TIMES = tuple(
    """morning evening winter summer spring autumn night noon Monday Tuesday Friday Sunday""".split()
)

LINKS = tuple(
    """The the A a In There and of to in at on is was by near with from behind under before after every one
    that it they there while because but then rain snow wind sun fell blew shone slept waited walked
    talked about again over all day long pass key colour home Answer""".split()
)

NUMBERS = tuple(f"{value:02d}" for value in range(100))
"""Pass keys are two of these, written together."""


def spelled_words() -> tuple[str, ...]:
    """Every token that is a word or a number, as it stands in a text, each once."""
    words = (
        *(*ANIMALS, *COLOURS, *CITIES, *PEOPLE, *ADJECTIVES, *THINGS, *PLACES),
        *(*VERBS, *TIMES, *LINKS),
    )
    spaced = (f" {word}" for word in (*words, *NUMBERS))
    return tuple(dict.fromkeys((*spaced, *NUMBERS)))
