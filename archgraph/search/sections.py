"""What the parts of a study file may say: samplers, pruners, data, training, measuring."""

from __future__ import annotations

from typing import Final

from archgraph.search.fields import REQUIRED, Field, Kinds, Section

_SEEDED: Final = Field(
    "seed", "int", 0, "Seed of the split or of the generator; the data is the same in every trial.", low=0
)
_PATH: Final = Field("path", "text", REQUIRED, "Where it lies, from the folder of the study file.")
_HELD: Final = Field("held_out", "float", 0.2, "The fraction that is held out for the score.", low=0.01, high=0.9)
_STARTUP: Final = Field("n_startup_trials", "int", 10, "Random trials before the model is used.", low=1)

SAMPLER: Final = Kinds(
    "How Optuna proposes candidates.",
    {
        "tpe": Section(
            "Tree-structured Parzen estimator, multivariate.",
            (
                _STARTUP,
                Field("n_ei_candidates", "int", 24, "Feasible candidates that the acquisition chooses from.", low=1),
                Field("multivariate", "bool", True, "One density over all parameters, rather than one for each."),
            ),
        ),
        "nsga2": Section(
            "NSGA-II, an evolutionary algorithm for several objectives.",
            (
                Field("population_size", "int", 50, "Candidates of a generation.", low=2),
                Field("mutation_prob", "float", None, "Probability of a mutation of a parameter.", low=0, high=1),
                Field("crossover_prob", "float", 0.9, "Probability of a crossover.", low=0, high=1),
                Field("swapping_prob", "float", 0.5, "Probability that the crossover swaps.", low=0, high=1),
            ),
        ),
        "gp": Section("Gaussian process with expected improvement.", (_STARTUP,)),
        "random": Section("Independent uniform draws.", ()),
        "grid": Section("Every feasible candidate once, in an order by the seed; such a study ends by itself.", ()),
    },
)

_ON: Final = Field("on", "text", "", "The metric that is reported each epoch; the trained one if left out.")
_WARMUP: Final = Field("n_warmup_steps", "int", 0, "Epochs before anything is pruned.", low=0)
PRUNER: Final = Kinds(
    "What ends unpromising trials early, in studies of several objectives too.",
    {
        "none": Section("Nothing is pruned.", ()),
        "median": Section(
            "Ends what is worse than the median of the earlier trials at the same epoch.",
            (_ON, Field("n_startup_trials", "int", 5, "Trials before anything is pruned.", low=0), _WARMUP),
        ),
        "percentile": Section(
            "Ends what is outside the best part of the earlier trials at the same epoch.",
            (
                _ON,
                Field("percentile", "float", 25.0, "The part that goes on, in percent.", low=0, high=100),
                Field("n_startup_trials", "int", 5, "Trials before anything is pruned.", low=0),
                _WARMUP,
            ),
        ),
        "asha": Section(
            "Asynchronous successive halving: of each rung only the best part goes on.",
            (
                _ON,
                Field("min_resource", "int", 1, "Epochs of the first rung.", low=1),
                Field("reduction_factor", "int", 3, "Every rung keeps one of this many.", low=2),
            ),
        ),
    },
)

_PAIRS: Final = Field("vocab", "int", 64, "Size of the vocabulary.", low=4)
_LENGTH: Final = Field("length", "int", 64, "Length of a sequence.", low=4)
_TRAIN: Final = Field("train_size", "int", 2000, "Sequences to train on.", low=1)
_TEST: Final = Field("test_size", "int", 500, "Sequences held out for the score.", low=1)
DATA: Final = Kinds(
    "What the candidates are trained and measured on.",
    {
        "digits": Section(
            "Handwritten digits of scikit-learn: 1797 real images, 8×8, one channel.",
            (
                _HELD,
                _SEEDED,
                Field("size", "int", 8, "Height and width; bilinear where it is not 8.", low=4, high=256),
                Field("channels", "int", 1, "Copies of the one channel.", low=1, high=3),
            ),
        ),
        "folder": Section(
            "Image files, a folder for each class.",
            (
                _PATH,
                Field("size", "int", 32, "Height and width that every image is resized to.", low=1),
                Field("test_path", "text", None, "A folder of the same form that is held out, in place of a split."),
                _HELD,
                _SEEDED,
            ),
        ),
        "cifar10": Section(
            "CIFAR-10 in its Python version, as unpacked.",
            (_PATH, Field("limit", "int", None, "Use only so many images of each part.", low=1)),
        ),
        "cifar100": Section(
            "CIFAR-100 in its Python version, as unpacked.",
            (_PATH, Field("limit", "int", None, "Use only so many images of each part.", low=1)),
        ),
        "arrays": Section(
            "Arrays of an .npz file: `x` and `y`, and `x_test` and `y_test` where the split is fixed; audio, EEG, any "
            "features.",
            (
                _PATH,
                _HELD,
                _SEEDED,
                Field("standardise", "bool", True, "Zero mean and unit variance in each channel (axis 1)."),
            ),
        ),
        "text": Section(
            "A text file, to predict each next character or byte.",
            (
                _PATH,
                Field("level", "text", "byte", "What a token is.", choices=("byte", "char")),
                _LENGTH,
                Field("held_out", "float", 0.1, "The last part of the file is held out.", low=0.01, high=0.9),
                Field("limit", "int", None, "Read only so many tokens.", low=64),
            ),
        ),
        "recall": Section(
            "Multi-query associative recall (MQAR): key-value pairs, then keys whose values are asked for (Zoology).",
            (
                _PAIRS,
                _LENGTH,
                Field("pairs", "int", 8, "Key-value pairs in a sequence.", low=1),
                Field(
                    "power",
                    "float",
                    0.01,
                    "Queries come soon after the pairs: gaps follow a power law with this exponent.",
                    low=0.001,
                ),
                _TRAIN,
                _TEST,
                _SEEDED,
            ),
        ),
        "copy": Section(
            "Selective copying: tokens among noise, to be repeated in order at the end (Mamba).",
            (_PAIRS, _LENGTH, Field("tokens", "int", 8, "Tokens to copy.", low=1), _TRAIN, _TEST, _SEEDED),
        ),
        "needle": Section(
            "Needle in a haystack: a marked token somewhere among noise, asked for at the end.",
            (_PAIRS, _LENGTH, _TRAIN, _TEST, _SEEDED),
        ),
    },
)

TRAIN: Final = Section(
    "The short training behind `accuracy` and `loss`.",
    (
        Field("epochs", "int", 10, "Epochs at most.", low=1),
        Field("batch_size", "int", 64, "Samples of a step on one device.", low=1),
        Field("optimizer", "text", "adamw", "Optimiser.", choices=("adamw", "adam", "sgd")),
        Field("lr", "float", 1e-3, "Highest learning rate.", low=0),
        Field("weight_decay", "float", 0.01, "Weight decay, of matrices only.", low=0),
        Field("momentum", "float", 0.9, "Momentum of sgd.", low=0, high=1),
        Field("schedule", "text", "cosine", "How the learning rate falls.", choices=("cosine", "constant")),
        Field("warmup", "float", 0.1, "The fraction of the steps in which the learning rate rises.", low=0, high=1),
        Field("label_smoothing", "float", 0.0, "Label smoothing.", low=0, high=1),
        Field("clip", "float", None, "Largest norm of the gradient; null: any.", low=0),
        Field("accumulate", "int", 1, "Steps whose gradients are added up.", low=1),
        Field("shift", "int", 0, "Augmentation of images: random shifts by up to so many pixels.", low=0),
        Field("patience", "int", None, "Epochs without improvement of the held-out loss before training ends.", low=1),
        Field("target", "float", None, "Training ends when the held-out accuracy reaches this.", low=0, high=1),
        Field("evaluate_every", "int", 1, "Epochs between two evaluations.", low=1),
        Field(
            "precision",
            "text",
            "32-true",
            "Fabric's precision.",
            choices=("32-true", "16-mixed", "bf16-mixed", "bf16-true", "64-true"),
        ),
        Field(
            "accelerator",
            "text",
            "cpu",
            "Where: `auto` takes the first of cuda, mps, cpu.",
            choices=("cpu", "cuda", "mps", "auto"),
        ),
        Field("devices", "int", 1, "Devices of one trial.", low=1),
        Field("strategy", "text", "auto", "Fabric's strategy, such as ddp."),
        Field("threads", "int", 1, "Threads of one worker on the CPU.", low=1),
    ),
)

PROXY: Final = Section(
    "How zero-cost proxies are measured.",
    (
        Field("batch_size", "int", 32, "Samples that they see.", low=2),
        Field("repeats", "int", 2, "Batches that ZiCo and Zen-score average over.", low=2),
    ),
)

LATENCY: Final = Section(
    "How latency is measured.",
    (
        Field("batch_size", "int", 1, "Samples of a call.", low=1),
        Field("warmup", "int", 5, "Calls before measuring.", low=0),
        Field("repeats", "int", 20, "Calls of which the median counts.", low=1),
        Field("device", "text", "cpu", "Where it is measured: cpu, cuda, cuda:1, mps or auto."),
        Field("threads", "int", 1, "Threads on the CPU.", low=1),
    ),
)
