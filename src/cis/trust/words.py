"""256 words a person can hear, say and type: eight bits each, in codes and fingerprints.

Everyday things of four to eight letters. No two begin with the same three letters, and no two come within two
edits of each other as spelt or, with like sounds taken for one, within one as heard.
"""

from __future__ import annotations

_LIST = """
acorn airport album alcove almond alpaca amber anchor angle anvil apron arcade artist aspen atlas autumn
avocado badger balcony bamboo banjo barley basil battery beacon bicycle biscuit blanket blizzard blossom
bonfire boulder bracelet breeze bridge broccoli buffalo cabbage cactus camel canary captain carbon castle
cavern cello chalk cherry chimney cinema circus clarinet cloud cobalt coconut compass copper corridor coyote
cradle cricket crystal cushion cyclone cylinder daisy dancer delta desert diamond dolphin donkey dragon
drizzle drum echo eclipse elastic elephant embassy emerald engine envelope estuary evening fabric farmer
feather fiddle finger flamingo flounder flute forest fountain freckle funnel galaxy garden gazelle giraffe
glacier gondola granite hammock hedgehog helmet herring hickory horizon hotel hybrid iceberg indigo insect
iris island ivory jacket jaguar jasmine jigsaw journal juniper kayak khaki kimono ladybug lagoon lantern
lasagna laurel lava leopard lettuce library lilac lobster lullaby lunar magnet mammoth maple mattress meadow
melon mermaid midnight mirror monsoon mosaic moth mustard napkin nectar nickel notebook novelist nugget nutmeg
oatmeal octopus omelette onion opal orchid osprey ostrich otter oxygen palace pancake parrot pastry pelican
pharmacy phoenix pianist picnic pillow plumber popcorn postbox pretzel pumpkin pyramid quail quiver rabbit
radish raft rainbow rhino rucksack rugby saffron sandal sapphire satchel sausage savanna scarf scissors
scooter seagull sequin shepherd skillet slipper spatula sphinx spinach squirrel stadium stirrup summit sunset
surgeon swan tadpole tapestry temple tennis thermos thunder tomato tornado tractor triangle trumpet tulip
tundra turtle tuxedo twig umbrella unicorn vacuum vault viking village voyage vulture waffle walnut wardrobe
wasabi whisker window wombat wrestler zebra zenith zeppelin zigzag zodiac
"""

WORDS = tuple(_LIST.split())
_BY_BEGINNING = {word[:3]: word for word in WORDS}


def words_of(data: bytes) -> tuple[str, ...]:
    """Return one word for each byte."""
    return tuple(WORDS[byte] for byte in data)


def is_word(text: str) -> bool:
    """Tell whether it is one of the words."""
    return _BY_BEGINNING.get(text[:3]) == text


def nearest(text: str) -> str | None:
    """Return the word that begins with the same three letters, if any."""
    return _BY_BEGINNING.get(text[:3])
