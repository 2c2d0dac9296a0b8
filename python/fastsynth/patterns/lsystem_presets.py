"""L-systems by name."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["LSYSTEMS", "LSystem"]


@dataclass(frozen=True)
class LSystem:
    """An L-system with the angle in degrees and the symbols that the turtle knows.

    heading: at the start, degrees; 90 is up. tapered: drawn as a plant, thick at its root.
    """

    axiom: str
    rules: dict[str, object]
    angle: float
    steps: int
    draw: str = "FG"
    move: str = "f"
    leaves: str = ""
    heading: float = 0.0
    tapered: bool = False
    options: dict[str, float] = field(default_factory=dict)


def _plant(
    axiom: str, rules: dict[str, object], angle: float, steps: int, leaves: str = ""
) -> LSystem:
    return LSystem(axiom, rules, angle, steps, leaves=leaves, heading=90, tapered=True)


# Prusinkiewicz & Lindenmayer, The Algorithmic Beauty of Plants (1990), by figure.
LSYSTEMS: dict[str, LSystem] = {
    "plant_a": _plant("F", {"F": "F[+F]F[-F]F"}, 25.7, 5),  # 1.24 a
    "plant_b": _plant("F", {"F": "F[+F]F[-F][F]"}, 20, 5),  # 1.24 b
    "plant_c": _plant("F", {"F": "FF-[-F+F+F]+[+F-F-F]"}, 22.5, 4),  # 1.24 c
    "plant_d": _plant("X", {"X": "F[+X]F[-X]+X", "F": "FF"}, 20, 7, "X"),  # 1.24 d
    "plant_e": _plant("X", {"X": "F[+X][-X]FX", "F": "FF"}, 25.7, 7, "X"),  # 1.24 e
    "plant_f": _plant("X", {"X": "F-[[X]+X]+F[+FX]-X", "F": "FF"}, 22.5, 5, "X"),  # 1.24 f
    "weed": _plant(  # 1.27: one of three successors by chance
        "F", {"F": [["F[+F]F[-F]F", 0.33], ["F[+F]F", 0.33], ["F[-F]F", 0.34]]}, 25.7, 5
    ),
    "bush": _plant(
        "X",
        {
            "X": [["F[+X]F[-X]+X", 2], ["F[-X][+X]FX", 2], ["F[+X]-FX", 1], ["FF[-X]+X", 1]],
            "F": [["FF", 5], ["F", 1]],
        },
        22,
        8,
        "X",
    ),
    "koch": LSystem("F", {"F": "F+F--F+F"}, 60, 5),
    "snowflake": LSystem("F--F--F", {"F": "F+F--F+F"}, 60, 5),
    "island": LSystem("F-F-F-F", {"F": "F-F+F+FF-F-F+F"}, 90, 3),  # 1.6
    "lake": LSystem(  # 1.8
        "F+F+F+F", {"F": "F+f-FF+F+FF+Ff+FF-f+FF-F-FF-Ff-FFF", "f": "ffffff"}, 90, 2
    ),
    "dragon": LSystem("F", {"F": "F+G", "G": "F-G"}, 90, 13),  # 1.10 a
    "arrowhead": LSystem("F", {"F": "G+F+G", "G": "F-G-F"}, 60, 7),  # 1.10 b
    "gosper": LSystem("F", {"F": "F+G++G-F--FF-G+", "G": "-F+GG++G+F--F-G"}, 60, 4),  # 1.11 a
    "hilbert": LSystem("L", {"L": "+RF-LFL-FR+", "R": "-LF+RFR+FL-"}, 90, 6),
    "moore": LSystem("LFL+F+LFL", {"L": "-RF+LFL+FR-", "R": "+LF-RFR-FL+"}, 90, 5),
    "levy": LSystem("F", {"F": "+F--F+"}, 45, 12),
    "crystal": LSystem("F+F+F+F", {"F": "FF+F++F+F"}, 90, 4),
    "penrose": LSystem(
        "[N]++[N]++[N]++[N]++[N]",
        {
            "M": "OF++PF----NF[-OF----MF]++",
            "N": "+OF--PF[---MF--NF]+",
            "O": "-MF++NF[+++OF++PF]-",
            "P": "--OF++++MF[+PF++++NF]--NF",
            "F": "",
        },
        36,
        5,
    ),
}
"""The presets of `lsystem`."""
