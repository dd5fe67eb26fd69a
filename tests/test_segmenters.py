"""Foreign judges: tiny random networks of each family, saved and read back through the public path."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    CLIPTokenizer,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    OneFormerConfig,
    OneFormerForUniversalSegmentation,
    OneFormerProcessor,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SwinConfig,
)
from transformers.models.mask2former.image_processing_pil_mask2former import Mask2FormerImageProcessorPil
from transformers.models.oneformer.image_processing_pil_oneformer import OneFormerImageProcessorPil
from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

from scenewright.bench.scoring import Judges, Labels, asked_for, layout_score
from scenewright.errors import UserError
from scenewright.scene import Scene, Segment
from scenewright.segmenters import NamedSegmenter

NAMES = {0: "person", 1: "sky-other", 2: "wall-brick"}


def segformer(folder: Path) -> tuple[Any, Any]:
    config = SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[8, 16],
        patch_sizes=[3, 3],
        strides=[2, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        id2label=NAMES,
    )
    return SegformerForSemanticSegmentation(config), SegformerImageProcessorPil(size={"height": 32, "width": 32})


def swin() -> SwinConfig:
    options: dict[str, Any] = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
    return SwinConfig(
        image_size=32, patch_size=2, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4, **options
    )  # fmt: skip


def mask2former(folder: Path) -> tuple[Any, Any]:
    config = Mask2FormerConfig(
        backbone_config=swin(),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=5,
        id2label=NAMES,
    )
    processor = Mask2FormerImageProcessorPil(size={"shortest_edge": 32, "longest_edge": 64})
    return Mask2FormerForUniversalSegmentation(config), processor


def oneformer(folder: Path) -> tuple[Any, Any]:
    info = {str(i): {"isthing": int(i == 0), "name": name} for i, name in NAMES.items()}
    (folder / "info.json").write_text(json.dumps(info))
    letters = [letter + end for letter in "abcdefghijklmnopqrstuvwxyz" for end in ("", "</w>")]
    words = {word: i for i, word in enumerate(["<|startoftext|>", "<|endoftext|>", *letters])}
    size = {"shortest_edge": 32, "longest_edge": 64}
    pictures = OneFormerImageProcessorPil(repo_path=str(folder), class_info_file="info.json", num_text=4, size=size)
    tokenizer = CLIPTokenizer(vocab=words, merges=[], model_max_length=77)
    config = OneFormerConfig(
        backbone_config=swin(),
        conv_dim=32,
        mask_dim=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=3,
        num_attention_heads=2,
        num_queries=6,
        text_encoder_width=16,
        text_encoder_num_layers=1,
        text_encoder_vocab_size=len(words),
        query_dec_layers=1,
        text_encoder_n_ctx=2,
        id2label=NAMES,
    )
    processor = OneFormerProcessor(pictures, tokenizer, max_seq_length=77, task_seq_length=77)
    return OneFormerForUniversalSegmentation(config), processor


FAMILIES = [segformer, mask2former, oneformer]


@pytest.fixture(scope="module", params=FAMILIES, ids=[family.__name__ for family in FAMILIES])
def saved(request: Any, tmp_path_factory: Any) -> tuple[str, Any, Any]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp(request.param.__name__)
    network, processor = request.param(folder)
    network.eval().save_pretrained(folder, safe_serialization=True)
    processor.save_pretrained(folder)
    return str(folder), network, processor


def pictures(count: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 40, 40, 3), dtype=np.uint8)


def test_it_says_what_the_network_says(saved: tuple[str, Any, Any]) -> None:
    folder, network, processor = saved
    judge, images = NamedSegmenter.load(folder), pictures()
    seen = judge(images)
    assert judge.names == tuple(NAMES.values())
    assert seen.shape == images.shape[:3]
    with torch.no_grad():
        task = {"task_inputs": ["semantic"]} if isinstance(processor, OneFormerProcessor) else {}
        outputs = network(**processor(images=[images[3]], return_tensors="pt", **task))
    expected = processor.post_process_semantic_segmentation(outputs, target_sizes=[(40, 40)])[0].numpy() + 1
    assert (seen[3] == expected).mean() > 0.99  # batches round differently
    assert len(judge(images[:0])) == 0


def test_a_foreign_judge_scores_layouts_by_its_own_names(saved: tuple[str, Any, Any]) -> None:
    judges = Judges.with_segmenter(saved[0])
    mask = np.zeros((40, 40), np.float32)
    mask[:20] = 1
    scene = Scene("a man under the sky", (Segment(mask, "sky"), Segment(1 - mask, "person")), (40, 40))
    asked = asked_for(scene, (40, 40), judges.labels)
    assert asked[0, 0] == 2
    assert asked[30, 0] == 1
    assert layout_score([scene], asked[None], labels=judges.labels).miou == 1
    assert 0 <= layout_score([scene], judges.segment(pictures(1)), labels=judges.labels).miou <= 1


def test_words_mean_the_class_that_is_said_so() -> None:
    labels = Labels.named(["person", "sky-other", "wall-brick", "sky"])
    assert [labels.id_of(words) for words in ("Person", "sky", "sky-other", "brick wall", "cat", "")] == [
        1,
        4,
        2,
        3,
        0,
        0,
    ]
    assert labels.objects == (1, 2, 3, 4)


def test_what_is_no_segmentation_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no segmentation network"):
        NamedSegmenter.load(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="is no segmentation network"):
        NamedSegmenter.load(str(tmp_path))


def test_a_pickle_is_never_read(saved: tuple[str, Any, Any], tmp_path: Path) -> None:
    for path in Path(saved[0]).glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save({"weight": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="is no segmentation network"):
        NamedSegmenter.load(str(tmp_path))
