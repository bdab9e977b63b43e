"""Closed word lists of the caption parser. Open-class words are in ``data/lexicon.json.gz``."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


def words(text: str) -> frozenset[str]:
    """The words of a string."""
    return frozenset(text.split())


def _phrases(text: str) -> frozenset[str]:
    return frozenset(phrase.strip() for phrase in text.split(",") if phrase.strip())


@cache
def scene_names() -> frozenset[str]:
    """Everyday names of places and occasions, from ``data/scenes.txt``."""
    text = files("anytag.language").joinpath("data/scenes.txt").read_text(encoding="utf-8")
    return frozenset(line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#"))


COLORS = words(
    "black white red green blue yellow brown gray grey pink purple tan beige blond blonde brunette maroon teal "
    "turquoise navy violet lavender cream ivory burgundy magenta cyan crimson scarlet khaki peach aqua charcoal "
    "indigo orange gold silver"
)
#: Stuff that things are made of, and patterns: before a noun they say how it is.
MATERIALS = words(
    "wood metal brick stone concrete leather plastic glass denim cardboard steel marble cotton wool straw wicker "
    "bamboo granite ceramic porcelain fleece rubber tile cement silk velvet lace plaid camouflage camo chrome "
    "aluminum copper bronze linoleum hardwood stucco cobblestone asphalt styrofoam spandex nylon vinyl suede iron "
    "lycra satin polyester"
)
#: Words that a tagger takes for nouns although they tell how something is.
ADJECTIVES = words(
    "tan striped wooded multicolored multi-colored checkered snowy grassy shirtless brunette blond blonde tattooed "
    "bearded barefoot barefooted hooded polka-dot polka-dotted dotted outdoor indoor wooden wintry floral flowered "
    "patterned plaid hispanic caucasian asian topless nude naked elderly middle-aged multi-color multicolor tie-dye "
    "tie-dyed african-american goateed balding bald ornate colorful colourful furry fluffy shaggy sunlit adult"
)
#: Words that are objects whatever a tagger says.
NOUNS = words(
    "frisbee graffiti hydrant t-shirt tshirt tee-shirt hoodie sunglasses skateboard snowboard surfboard dog cat man "
    "men woman women boy girl boys girls people person child children kid kids lady guy guys toddler baby player "
    "players umbrella giraffe zebra elephant bicycle motorcycle airplane shirt hat jacket pants jeans shorts skis "
    "street building buildings bench table grass something railing ceiling clothing awning fedora yo-yo pedestrians "
    "onlookers"
)
#: Present participles that are never an action where they stand as nouns.
ING_NOUNS = words(
    "building painting clothing ceiling railing awning wedding evening morning sibling king ring string wing "
    "lightning opening crossing landing dressing frosting icing topping stuffing lighting meeting gathering drawing "
    "writing thing something anything nothing everything spring sling earring herring pudding duckling bedding "
    "siding scaffolding dwelling carving outing covering flooring sting viking being rigging marking greeting "
    "shelling housing setting tubing lettering seating paving molding stocking swing offspring engraving offering "
    "playing legging wedding awning fencing padding netting plumbing surroundings wrestling"
)
#: Nouns that only hold a phrase together when they head it: "in front of", "a group of people".
FUNCTION_NOUNS = words(
    "front top side back middle center centre bottom end rear group bunch lot lots pair couple view kind type sort "
    "variety number part rest way time times background foreground distance closeup close-up left right inside "
    "outside outdoors indoors midst midair mid-air edge piece pieces set series array collection assortment amount "
    "row rows set plenty something someone somebody anything anyone everything everyone nothing thing things one "
    "ones other others each another self himself herself themselves itself all sides ends fronts groups pairs "
    "direction directions position front-view activity action event place places purpose use case fact order "
    "addition variety preparation half dozen dozens hundred hundreds lots process attempt length front opposite "
    "sight unison motion progress beginning course turn next style example color colors colour shape size pose name "
    "reason moment bit"
)
#: Nouns of feeling, thought, manner, measure and time that no picture shows.
ABSTRACT_NOUNS = words(
    "fun attention advantage manner beauty formation affection interest opportunity trouble idea thought need "
    "excitement joy amazement awe anticipation emotion hope hate pride wonder surprise age year hour minute second "
    "month week speed effort length height width weight power price level plenty style nature possibility chance "
    "luck problem situation condition cause effect charge care existence concentration enjoyment pleasure presence "
    "help support love happiness curiosity confusion disbelief frustration anger fear skill talent ability "
    "knowledge experience memory past future time moment manner fashion respect honor peace freedom silence "
    "direction order turn duty favor intent intention purpose reason result truth type total today tomorrow "
    "yesterday while sort lifetime mean means anyone anybody"
)
#: Nouns that phrases like "on display" are made of.
IDIOMS = _phrases(
    "on display, in motion, on duty, in action, in use, at work, on top, in flight, at rest, in line, in place, on "
    "way, in charge, in order, in shape, in style, at play, on hold, in need, on guard"
)
#: Adverbs of place that taggers take for nouns.
PLACE_ADVERBS = words("indoors outdoors inside outside upstairs downstairs underneath overhead nearby midair mid-air")
#: Function nouns only at the head of "a picture of ...", before any verb.
PICTURE_NOUNS = words("picture photo image photograph pic shot photos pictures images scene portrait painting drawing")
#: Modifiers that count or point and tell nothing about looks.
FUNCTION_ADJECTIVES = words(
    "other several many few various multiple different same own next such certain another more most much some any "
    "no every each both all first second third fourth last former latter numerous single double only main front "
    "back top bottom left right about else else's less least enough able ready due opposite upper lower rear middle "
    "side visible unidentified unknown like near close far past future possible real whole entire extra additional "
    "else similar what which whose up down out off on over away inside outside upside together ahead apart forward "
    "backward backwards sideways alike separate respective particular very just also amid new-found worth based"
)
#: Verbs that only link or help.
LIGHT_VERBS = words(
    "be have do can could will would shall should may might must seem appear contain include feature consist "
    "resemble become need belong locate base depict stay remain say"
)
#: Verbs that are not actions when another follows: "tries to catch", "begins to fall".
CATENATIVE = words(
    "try attempt begin start continue want go like prepare seem appear need get finish stop keep struggle intend "
    "decide use plan"
)
#: Verbs of showing: no action in the passive ("can be seen") nor of a picture ("a photo showing a dog").
SHOWING = words("see show picture depict display locate feature photograph capture")
#: Particles that change the meaning of the verb; the pair is the tag.
PHRASAL = _phrases(
    "take off, put on, pick up, hang out, show off, work out, warm up, set up, line up, blow out, dress up, give "
    "away, try on, make out, get off, get on, get out, clean up, cool off, dry off, check out, hand out, throw out, "
    "pass out, blow up, build up, turn on, turn off, put up, put out, put away, put together, take apart, take out, "
    "pull over, ride off, look up, look out, give up, fill up, tie up, wipe out, act out, goof off, make up, break "
    "up, stick out"
)
#: Adjective-and-noun names of one kind of thing; they stay whole.
NAMED_KINDS = _phrases(
    "hot dog, christmas tree, hard hat, polar bear, high chair, high school, stuffed animal, stuffed toy, stuffed "
    "bear, remote control, hot air balloon, martial art, martial artist, musical instrument, electric guitar, "
    "acoustic guitar, golden retriever, german shepherd, native american, african american, yellow jacket, top hat, "
    "front yard, front door, front porch, black belt, french fry, hot tub, fast food, light bulb, senior citizen, "
    "wet suit, facial hair, grand piano, french horn, parallel bars, comic book, public square, stained glass, "
    "stainless steel, hot rod, bald eagle, wrought iron, red wine, white wine, soft drink, green bean, green "
    "pepper, fried egg, sumo wrestler, barbed wire, parking lot, bald spot, double decker bus, double decker, "
    "double-decker bus, sweet potato, french toast, french bread, orange juice, little league, jumbo jet, still "
    "life, monkey bars, open air, high heels, high jump, long jump, first base, home plate, second base, third "
    "base, back pack, public transport, mobile phone, cellular phone, digital camera, baked goods, canned goods, "
    "conveyor belt, magic trick, red carpet, paper towel, paper plate, paper bag, gold medal, silver medal, "
    "american flag, ice cream, big wheel, ferris wheel, big rig, big ben, teddy bear, stop light, rocking chair, "
    "boxing ring, boxing glove, boxing match, tall ship, industrial area, residential area, rural area, urban area, "
    "living room, dining room, track and field, bed and breakfast, folk dance, washing machine, wind surfing, race "
    "track, cotton candy, metal detector, gold fish, public transit, elementary school, mini skirt, pickup truck, "
    "ping pong, ping pong table, double bass"
)
#: Other spellings of a name, where the captions' own counts (``spellings`` in the lexicon) do not settle it.
SAME_NAME = {
    "tshirt": "t-shirt", "cellphone": "cell phone", "tee-shirt": "t-shirt", "tee shirt": "t-shirt",
    "t shirt": "t-shirt", "aeroplane": "airplane", "grey": "gray", "blonde": "blond", "colour": "color",
    "colourful": "colorful", "theatre": "theater", "tennis racquet": "tennis racket", "racquet": "racket",
    "ice-cream": "ice cream", "stop-sign": "stop sign", "doughnut": "donut", "multi-colored": "multicolored",
    "multi-color": "multicolored", "multicolor": "multicolored", "multi colored": "multicolored",
    "frizbee": "frisbee", "african-american": "african american", "tie-dye": "tie-dyed", "polka-dot": "polka dot",
    "polka-dotted": "polka dot", "head phones": "headphones", "barefooted": "barefoot",
}  # fmt: skip
#: Nouns whose plural form is their name.
PLURAL_NAMES = words(
    "jeans pants shorts trousers sunglasses scissors goggles tongs binoculars headphones clothes overalls tights "
    "leggings pajamas pyjamas slacks khakis sweatpants eyeglasses chopsticks boxers briefs trunks earphones panties "
    "spandex gas grass glass dress bus class cross mattress process swiss bass press moss brass mass compass lass "
    "series species tennis chess christmas canvas atlas circus cactus octopus walrus hippopotamus platypus campus "
    "virus genius status plus asparagus hummus citrus lotus iris debris chassis acropolis metropolis news "
    "gymnastics headquarters barracks crossroads athletics groceries surroundings lens billiards darts graffiti "
    "cosmos thermos tarmac mars chaos kudos bullseye amongst santa us swarovski sis mardi gras paris texas arkansas "
    "kansas des canopus angus cumulus minibus trolleybus suspenders capris dreadlocks fatigues scrubs stilts "
    "skis-trousers cleats-only bangs congas knickers pliers tweezers shears swim-trunks sweats corduroys cargos "
    "bus's monkeybars outskirts remains goods bleachers woods premises quarters arms-race sports lacrosse"
)
PRONOUN_LIKE = words("he she it they we you i him her them us me his hers its their theirs my your our who whom")
