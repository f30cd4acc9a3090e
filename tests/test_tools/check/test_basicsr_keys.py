"""The keys that sources read, against the table of fields and what our own classes declare."""

import ast
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY
from torch.utils.data import Dataset

from lightsr_basicsr import models
from lightsr_basicsr.fields import declared
from lightsr_basicsr.tools.check import basicsr_keys
from lightsr_basicsr.tools.check.basicsr_fields import FIELDS
from lightsr_basicsr.tools.check.basicsr_keys import keys_of_class, keys_of_pipeline
from lightsr_basicsr.tools.check.known import fields_of_model, fields_of_set, find, sources_known

OURS = [cls for _, cls in MODEL_REGISTRY if cls.__module__.startswith("lightsr_basicsr.")]


class OfAPlugin(SRModel):
    """A model as other plugins have them."""

    def __init__(self, opt):
        super().__init__(opt)
        self.tiles = opt["tile"]["tile_size"]
        train_opt = self.opt["train"]
        self.use_ldl = train_opt.get("ldl_opt") or "artifact_weight" in train_opt
        window = train_opt["wavelet"] if "wavelet" in self.opt["train"] else None
        self.window = window and window.pop("levels", 2)


class SetOfAPlugin(Dataset):
    def __init__(self, opt):
        self.opt = opt
        self.task = "task" in opt and opt.pop("task")
        self.crop = self.opt.get("crop_rule")


def test_keys_of_a_plugin_are_found_in_its_source():
    found = keys_of_class(OfAPlugin)
    assert found >= {"tile.tile_size", "train.ldl_opt", "train.artifact_weight", "train.wavelet.levels", "val.suffix"}
    assert keys_of_class(SetOfAPlugin) == {"task", "crop_rule"}
    assert not sources_known(OfAPlugin)
    assert sources_known(SRModel)


def test_a_class_without_source_reads_nothing_that_is_known():
    assert keys_of_class(type("Made", (), {})) == set()


def test_every_key_of_the_table_is_read_by_basicsr():
    models = {key for _, model in MODEL_REGISTRY for key in keys_of_class(model)}
    sets = {f"datasets.*.{key}" for _, dataset in DATASET_REGISTRY for key in keys_of_class(dataset)}
    read = keys_of_pipeline() | models | sets
    unread = [name for name in FIELDS if not any(key == name or fnmatchcase(key, name) for key in read)]
    assert unread == []


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
def test_our_models_declare_what_they_read(model, monkeypatch):
    """Their own sources name no key that is not known of them."""
    monkeypatch.setattr(basicsr_keys, "OURS", "nothing of ours.")
    read = keys_of_class.__wrapped__(model)
    known = fields_of_model(model)
    lost = [key for key in read if find(known, key) is None and key.count(".") < 2]
    assert lost == []


def test_our_models_read_what_they_declare():
    """The name of each declared key stands in models/ once more than in its declaration."""
    sources = [path.read_text(encoding="utf-8") for path in Path(models.__file__).parent.glob("*.py")]
    nodes = [node for source in sources for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    texts = Counter(node.value for node in nodes if isinstance(node.value, str))
    declared_here = Counter(key for model in OURS for key in vars(model).get("options", {}))
    unread = [
        key for key, times in declared_here.items() if not texts[key.rpartition(".")[2]] > times * ("." not in key)
    ]
    assert unread == []


@pytest.mark.parametrize("kind", ["models", "datasets"])
def test_every_field_has_a_sentence(kind):
    registry = {"models": MODEL_REGISTRY, "datasets": DATASET_REGISTRY}[kind]
    fields = {**FIELDS, **{key: field for _, cls in registry for key, field in declared(cls).items()}}
    assert [key for key, field in fields.items() if not field.help.endswith((".", "`type: lmdb`."))] == []


def test_fields_of_a_set_and_of_an_unknown_model():
    known = fields_of_set(DATASET_REGISTRY.get("PairedImageDataset"))
    assert known["gt_size"].problem("48")
    assert known["batch_size_per_gpu"].required == "train"
    assert "blur" not in known
    assert fields_of_model(None)["train.total_iter"].problem(4.5)
