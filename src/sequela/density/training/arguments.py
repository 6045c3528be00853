"""Arguments of `fit`, declared once: for its checks, its docstring and the command line."""

from __future__ import annotations

from sequela.arguments import FLAG, PATH, TEXT, Argument, Choice, Either, Kind, Number
from sequela.density.registry import backbone_help

_MODEL, _TRAINING, _RUN, _FILES = "The model", "Training", "How it runs", "Log and files"

FIT = {
    "log": Argument("Event log.", Kind("an event log (from read_log)", "sequela.events.log:EventLog")),
    "backbone": Argument(
        backbone_help(),
        TEXT,  # `trained_backbone` knows those that were registered
        "window",
        more='``"window"`` looks at the last `memory` events; ``"llama"`` is a small Hugging Face '
        '``LlamaForCausalLM`` and ``"gru"`` a recurrent network, both of which look at up to 256 events; see '
        "`sequela.density.registry`.",
        panel=_MODEL,
    ),
    "out": Argument(
        "Folder to save the trained density to.",
        PATH,
        None,
        more="With it, a run that was interrupted is taken up by the same call.",
        panel=_FILES,
    ),
    "overwrite": Argument("Replace an earlier result.", FLAG, False, panel=_FILES, flags="--overwrite"),
    "seed": Argument("Same seed, same weights.", Number(whole=True), 0, panel=_RUN),
    "min_count": Argument(
        "Types seen less often are folded into <rare>.", Number(1, whole=True), 2, panel=_MODEL
    ),
    "vocabulary": Argument(
        "Event types to learn, for several densities with the same ones; those of the log by default.",
        Kind("a vocabulary", "sequela.events.vocabulary:Vocabulary"),
        None,
        flags=None,
    ),
    "memory": Argument(
        "Past events the model looks at.",
        Number(2, whole=True),
        None,
        more="More finds later effects, needs more data and time. Not given, the window backbone begins with 8 and "
        "doubles it, to 32 at most, as long as the validation loss of short runs falls by more than one standard "
        "error, where no events share their time; under the conditions of `width`.",
        panel=_MODEL,
    ),
    "width": Argument(
        "Size of the hidden layers.",
        Number(2, whole=True),
        None,
        more="More fits more, needs more data and time. Not given, the window backbone tries several in short runs and "
        "keeps the smallest whose validation loss is within one standard error of the lowest, unless `max_steps` "
        "leaves no time for that (below 1,200).",
        panel=_MODEL,
    ),
    "n_blocks": Argument("Number of hidden blocks or decoder layers.", Number(1, whole=True), 2, panel=_MODEL),
    "dropout": Argument("Share of the window network's numbers dropped in training.", Number(0, 0.9), 0.1,
                        panel=_TRAINING),
    "hide": Argument(
        "Highest share of past events hidden in training.",
        Number(0, 0.9),
        0.5,
        more='It regularises, and allows the design ``"masked"`` and evidence; 0 turns it off.',
        panel=_TRAINING,
    ),
    "times": Argument(
        "Use how long ago past events were; by default where that helps.",
        Either((FLAG, Choice(("auto",)))),
        "auto",
        more="True, False, or ``\"auto\"``: where the log has times and the time since the last event tells something "
        "of the next one (at least 0.02 nats beyond the last event, and thrice what shuffled times tell). Not for "
        "the backbone gru. What is scored later then needs times too.",
        panel=_MODEL,
        flags="--times/--no-times",
    ),
    "components": Argument(
        "Let types that share components (several --event) learn from each other.",
        Either((FLAG, Choice(("auto",)))),
        "auto",
        more="Event types made of several columns are then learnt as their components and what is their own, so that "
        "rare ones borrow strength: True, False, or ``\"auto\"``: where several types share a component. "
        "Scoring takes no longer.",
        panel=_MODEL,
        flags="--components/--no-components",
    ),
    "additive": Argument(
        "Let past events add to the rates of later ones, as in a Hawkes process, beside what multiplies them.",
        Either((FLAG, Choice(("auto",)))),
        "auto",
        more="Direct effects of pairs of types are then counted before training, most as exactly 0. True, False, "
        "or ``\"auto\"``: where the counted effects alone have a lower validation loss than the best short run without "
        "them; only while the width is chosen. Only the window backbone, up to 2,000 event types.",
        panel=_MODEL,
        flags="--additive/--no-additive",
    ),
    "max_steps": Argument("Most training steps.", Number(1, whole=True), None, panel=_TRAINING),
    "batch_size": Argument("Events (window) or blocks of events (llama, gru) a step.", Number(1, whole=True), None,
                           panel=_TRAINING),
    "learning_rate": Argument("Its highest value.", Number(0, above=True), None, panel=_TRAINING),
    "patience": Argument("Looks without improvement before training stops.", Number(1, whole=True), 10,
                         panel=_TRAINING),
    "precision": Argument(
        "float32, bfloat16, or auto: bfloat16 where it is fast.",
        Choice("sequela.density.training.loop:TRAINING_PRECISIONS"),
        "float32",
        more="Matrix products are then in bfloat16: on a processor that has it in hardware training takes about half "
        "the time.",
        panel=_RUN,
    ),
    "device": Argument("cpu, cuda, mps; chosen automatically.", TEXT, None, panel=_RUN),
    "progress": Argument(
        "Show choices, a bar and the result; False for silence.",
        Either((FLAG, Kind("a reporter", has=("say", "bar")))),
        True,
        flags=None,
    ),
}  # fmt: skip
"""By name, in the order of the signature."""
