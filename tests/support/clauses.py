"""Animals and persons, and what they do without an object: "a black cat sleeps on a red sofa".

Two hundred nouns and three hundred intransitive verbs, common in captions and in everyday English.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from anytag.language.parsing.parser import ParsedTag


def words(text: str) -> tuple[str, ...]:
    """The words of a text, each once."""
    return tuple(dict.fromkeys(text.split()))


_BEINGS = words(
    """
man woman dog child boy girl cat horse bird person baby toddler kid lady guy player athlete rider adult teenager
skateboarder skier surfer snowboarder cyclist swimmer runner jogger hiker climber skater dancer singer musician
guitarist drummer performer clown actor artist painter photographer tourist traveler passenger pedestrian driver
biker motorcyclist racer jockey cowboy farmer fisherman hunter sailor soldier pilot firefighter policeman officer
guard worker waiter waitress chef cook baker vendor customer shopper student teacher nurse doctor businessman
mother father parent son daughter brother sister grandmother grandfather uncle aunt bride groom couple family
friend neighbor stranger crowd audience spectator fan referee umpire pitcher catcher batter goalie wrestler boxer
puppy kitten hound terrier retriever poodle bulldog beagle collie greyhound husky corgi pony foal donkey mule bull
cow calf ox sheep lamb goat pig piglet rabbit bunny hamster mouse rat squirrel chipmunk fox wolf coyote bear panda
lion tiger leopard cheetah elephant giraffe zebra rhino hippo camel llama deer moose elk antelope buffalo kangaroo
koala monkey gorilla ape duck duckling goose swan chicken rooster hen turkey pigeon dove crow raven parrot
seagull pelican penguin owl eagle hawk falcon peacock flamingo ostrich heron sparrow robin fish shark whale dolphin
seal otter turtle tortoise frog toad snake lizard crocodile butterfly bee wasp ant spider crab snail
"""
)

_VERBS = words(
    """
sleep run walk sit stand lie fly swim jump play eat rest wait look smile laugh cry talk speak sing dance work climb
fall ride drive surf ski skate skateboard snowboard dive float drift roll slide swing lean kneel crouch squat bend
stretch yawn nap doze snooze relax lounge recline pose stare gaze glance peek peer watch listen stroll wander roam
march jog sprint race dash hurry rush gallop trot canter prance leap hop skip bounce crawl creep sneak slither
graze drink feed chew nibble lick sniff bark growl howl meow purr roar moo bleat neigh whinny chirp tweet squawk
quack hiss buzz snarl whine pant drool sweat shiver tremble shake sneeze cough breathe blink wink nod frown
grin giggle chuckle chat gossip argue shout scream yell whisper mumble pray cheer clap wave bow curtsy salute
perform rehearse practice train exercise compete wrestle box fight fence spar struggle tumble trip stumble slip
crash collapse faint limp hobble waddle strut swagger parade pace tiptoe stomp step turn spin twirl whirl rotate
hover soar glide flap flutter perch roost nest land descend ascend rise arrive depart leave return
come go swoop enter exit emerge vanish disappear hide lurk prowl stalk hunt forage scavenge dig burrow bathe
    shower wade
splash paddle row sail kayak canoe snorkel wakeboard windsurf kitesurf drown sink bob camp hike trek travel
commute cycle pedal bike hitchhike fish shop cook bake dine snack picnic barbecue smoke drum strum improvise
study read write draw paint think ponder daydream dream worry grieve mourn weep sob sulk pout celebrate party
mingle gather assemble congregate huddle cuddle snuggle hug kiss embrace wed play frolic romp gambol
cavort wrestle pounce lunge charge flee escape retreat advance approach linger loiter loaf idle dawdle pause stop
halt live dwell age grow bloom molt shed hibernate migrate swarm stampede wallow sunbathe
meditate stretch flex vault somersault cartwheel tap knit sew weave
"""
)


NOUNS = _BEINGS[:200]
INTRANSITIVE = _VERBS[:300]

#: Irregular plurals; nouns that are their own plural are left out of the clauses in the plural.
_PLURALS = {
    "man": "men", "woman": "women", "child": "children", "person": "people", "policeman": "policemen", "fisherman":
    "fishermen", "businessman": "businessmen", "goose": "geese", "mouse": "mice", "ox": "oxen", "calf": "calves",
    "wolf": "wolves", "sheep": "", "deer": "", "moose": "", "fish": "", "elk": "", "buffalo": "buffaloes",
    "crowd": "", "audience": "", "family": "families", "lady": "ladies",
}  # fmt: skip

FRAMES = (
    "a {noun} {verbs}",
    "a {noun} {verbs} on the grass",
    "a black {noun} {verbs} near a red bench",
    "the {noun} {verbs} while it rains",
    "two {nouns} {verb} in the park",
)


@dataclass(frozen=True)
class Clause:
    """A caption, and what it says of whom."""

    caption: str
    noun: str
    verb: str

    def faults(self, tags: list[ParsedTag]) -> list[str]:
        """What is wrong with its tags: the verb missing, taken for a thing, or grown onto the noun."""
        named = {(tag.name, tag.kind) for tag in tags}
        found = [] if (self.verb, "action") in named else [f"no action {self.verb!r}"]
        wrong = [name for name, kind in named if kind != "action" and self.verb in name.split() and name != self.noun]
        return found + [f"{name!r} is not a thing" for name in sorted(wrong)]


def third_person(verb: str) -> str:
    if verb.endswith(("s", "x", "z", "ch", "sh")):
        return verb + "es"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ies"
    return verb + ("es" if verb.endswith("o") and verb[-2] not in "aeiou" else "s")


def plural(noun: str) -> str:
    """A noun's plural; empty for one that has none of its own."""
    if noun in _PLURALS:
        return _PLURALS[noun]
    return third_person(noun)


def clauses(frame: str, step: int = 1) -> Iterator[Clause]:
    """Every verb after every ``step``-th noun, another start for each verb."""
    for number, verb in enumerate(INTRANSITIVE):
        for noun in NOUNS[number % step :: step]:
            if "{nouns}" in frame and not plural(noun):
                continue
            words = {"noun": noun, "nouns": plural(noun), "verb": verb, "verbs": third_person(verb)}
            yield Clause(frame.format(**words), noun, verb)
