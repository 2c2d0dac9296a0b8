"""The verbs as functions, for one use: they open a Synthesizer, run, and close it."""

from fastsynth.synthesize.dreaming import dream as _dream
from fastsynth.synthesize.inversion import invert as _invert
from fastsynth.synthesize.inversion import mix as _mix
from fastsynth.synthesize.minimization import minimize as _minimize
from fastsynth.synthesize.texture import synthesize_texture as _synthesize_texture
from fastsynth.synthesize.transfer import style_transfer as _style_transfer
from fastsynth.synthesize.verbs import one_call
from fastsynth.synthesize.visualization import visualize as _visualize
from fastsynth.synthesize.zoom import dream_zoom as _dream_zoom

__all__ = [
    "dream",
    "dream_zoom",
    "invert",
    "minimize",
    "mix",
    "style_transfer",
    "synthesize_texture",
    "visualize",
]

style_transfer = one_call(_style_transfer)
synthesize_texture = one_call(_synthesize_texture)
invert = one_call(_invert)
mix = one_call(_mix)
minimize = one_call(_minimize)
dream = one_call(_dream)
dream_zoom = one_call(_dream_zoom)
visualize = one_call(_visualize)
