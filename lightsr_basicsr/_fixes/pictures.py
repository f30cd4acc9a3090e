"""Pictures: SR images keep what the files of their LR images hold."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lightsr_basicsr._fixes.detect import wrapped_by


def saved_as_read() -> bool:
    """Let networks see 16 bits, and save SR images with bits, gray, alpha and tags of LR, where the option file asks.

    Why: images are read and written as RGB of 8 bits, whatever their files hold. Since: always. Until: BasicSR keeps
    them. ``val.save_as_read`` asks for it; without it nothing changes.
    """
    from basicsr.models.sr_model import SRModel
    from basicsr.utils import img_util

    read, validate, visuals = img_util.imfrombytes, SRModel.nondist_validation, SRModel.get_current_visuals
    if wrapped_by(read, __name__):
        return False

    def imfrombytes(content: bytes, flag: str = "color", float32: bool = False) -> Any:
        now = _now()
        found = now.read(content) if now and flag == "color" and float32 else None
        return read(content, flag, float32) if found is None else found

    def nondist_validation(self: Any, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        if not (save_img and (self.opt.get("val") or {}).get("save_as_read")):
            return validate(self, dataloader, current_iter, tb_logger, save_img)
        from lightsr_basicsr.pictures.as_read import NOW

        NOW.on = True
        try:
            validate(self, dataloader, current_iter, tb_logger, save_img)
        finally:
            NOW.end()

    def get_current_visuals(self: Any) -> Any:
        shown = visuals(self)
        if now := _now():
            now.result = shown["result"].float().numpy()
        return shown

    imfrombytes.__wrapped__, nondist_validation.__wrapped__, get_current_visuals.__wrapped__ = read, validate, visuals
    SRModel.nondist_validation, SRModel.get_current_visuals = nondist_validation, get_current_visuals
    for module in [module for name, module in sys.modules.items() if name.split(".")[0] == "basicsr"]:
        for name in [name for name, value in vars(module).items() if value is read]:
            setattr(module, name, imfrombytes)
    return True


def _now() -> Any:
    """Return the picture that is validated now, None unless the option file asks for it."""
    module = sys.modules.get("lightsr_basicsr.pictures.as_read")
    return module.NOW if module and module.NOW.on else None


def written_as_read(path: Path, image: Any) -> bool:
    """Return whether the SR image of the picture that is validated now was written in the place of ``image``."""
    now = _now()
    return bool(now) and now.write(path, image)
