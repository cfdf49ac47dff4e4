"""What somebody may have meant by a name that no library here has: names of other hubs, and slips of the pen.

Only a message about an unknown name imports this module: it asks open_clip and timm for all their names.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator

_SIZES = {"s": "small", "b": "base", "l": "large", "g": "giant"}

_PLACES = re.compile(
    r"^(hf[-_]hub|huggingface|hf|torch[-_]?hub|torchvision|open[-_]?clip|clip|timm)[:/]", re.IGNORECASE
)
"""What stands before names in other tools."""

_ELSEWHERE: dict[str, Callable[[re.Match[str]], str]] = {
    r"(?:facebook/|facebookresearch/)?dinov2[-_](?:vit)?(s|b|l|g)\w*?(?:14)?([-_]reg\w*)?": (
        lambda m: f"timm:vit_{_SIZES[m[1]]}_patch14_{'reg4_' if m[2] else ''}dinov2"
    ),
    r"(?:facebook/)?dinov2-with-registers-(s|b|l|g)\w+": lambda m: f"timm:vit_{_SIZES[m[1]]}_patch14_reg4_dinov2",
    r"(?:facebook/)?dinov3[-_]vit(s|b|l)16\b.*": lambda m: f"timm:vit_{_SIZES[m[1]]}_patch16_dinov3",
    r"(?:facebook/)?dino[-_]vit(s|b)(8|16)": lambda m: f"timm:vit_{_SIZES[m[1]]}_patch{m[2]}_224.dino",
    r"openai/clip-vit-base-patch(16|32)": lambda m: f"open_clip:ViT-B-{m[1]}/openai",
    r"openai/clip-vit-large-patch14(-336)?": lambda m: f"open_clip:ViT-L-14{m[1] or ''}/openai",
    r"(vit-[bl])/(16|32|14)(@336px)?": (
        lambda m: f"open_clip:ViT-{m[1][-1].upper()}-{m[2]}{'-336' if m[3] else ''}/openai"
    ),
    r"google/siglip-base-patch16-224": lambda m: "open_clip:ViT-B-16-SigLIP/webli",
    r"google/siglip-so400m-patch14-(224|384)": (
        lambda m: f"open_clip:ViT-SO400M-14-SigLIP{'-384' if m[1] == '384' else ''}/webli"
    ),
    r"efficientnet[-_]lite0": lambda m: "quickstart:efficientnet_lite0 or timm:tf_efficientnet_lite0",
}
"""Well-known names of other hubs, as patterns, and what they are called here."""


def known_elsewhere(name: str) -> str | None:
    """Return what a name of another hub is called here; None if it is not a well-known one.

    Examples
    --------
    >>> known_elsewhere("facebook/dinov2-small"), known_elsewhere("dinov2_vitb14_reg")
    ('timm:vit_small_patch14_dinov2', 'timm:vit_base_patch14_reg4_dinov2')
    >>> known_elsewhere("resnet50") is None
    True
    """
    bare = _PLACES.sub("", name)
    for pattern, ours in _ELSEWHERE.items():
        if (found := re.fullmatch(pattern, bare.lower())) is not None:
            return ours(found)
    return None


def of_transformers(name: str) -> str | None:
    """Return the name of a repository of the hub as an encoder of transformers; None if it has no such form.

    Examples
    --------
    >>> of_transformers("facebook/dinov2-small"), of_transformers("dinov2_vitb14")
    ('hf:facebook/dinov2-small', None)
    """
    bare = _PLACES.sub("", name)
    return f"hf:{bare}" if re.fullmatch(r"[\w.-]+/[\w.-]+", bare) else None


def near_names(name: str, most: int = 4) -> list[str]:
    """Return names of encoders that somebody may have meant by an unknown one, the likeliest first.

    Examples
    --------
    >>> near_names("openclip:ViT-B-32/openai"), near_names("hf-hub:timm/resnet50.a1_in1k")
    (['open_clip:ViT-B-32/openai'], ['timm:resnet50.a1_in1k'])
    """
    if (ours := known_elsewhere(name)) is not None:
        return [ours, *([hub] if (hub := of_transformers(name)) is not None else [])]
    bare = _PLACES.sub("", _PLACES.sub("", name)).strip("/")
    names = {rest.lower(): full for rest, full in _ours()}
    if (exact := names.get(bare.lower())) is not None:
        return [exact]
    # Of two libraries' long names, most are alike in something: only those that are much alike help.
    close = [names[match] for match in difflib.get_close_matches(bare.lower(), names, n=most, cutoff=0.7)]
    return close or [hub for hub in [of_transformers(name)] if hub is not None]


def _ours() -> Iterator[tuple[str, str]]:
    """Yield names without their family, and with it; published weights of open_clip by their repositories, too."""
    import open_clip
    import timm

    for architecture in timm.list_models():
        yield architecture, f"timm:{architecture}"
    for tagged in timm.list_pretrained():
        yield tagged, f"timm:{tagged}"
    for architecture in open_clip.list_models():
        yield architecture, f"open_clip:{architecture}"
    for architecture, tag in open_clip.list_pretrained():
        yield f"{architecture}/{tag}", f"open_clip:{architecture}/{tag}"
        if repository := (open_clip.get_pretrained_cfg(architecture, tag).get("hf_hub") or "").strip("/"):
            yield repository, f"open_clip:{architecture}/{tag}"
            yield repository.removeprefix("timm/"), f"open_clip:{architecture}/{tag}"
