// Patterns: cellular automata, formulas, fractals, shapes and L-systems, drawn into arrays
// (H, W, 3) of uint8, uint16 or float32.
#include <algorithm>
#include <array>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "fastsynth/common/error.hpp"
#include "fastsynth/patterns/automaton.hpp"
#include "fastsynth/patterns/formula.hpp"
#include "fastsynth/patterns/fractal.hpp"
#include "fastsynth/patterns/ifs.hpp"
#include "fastsynth/patterns/lsystem.hpp"
#include "fastsynth/patterns/raster.hpp"

namespace fastsynth {
namespace {

using ByteArray = py::array_t<std::uint8_t, py::array::c_style>;
using DoubleArray = py::array_t<double, py::array::c_style>;
using IntArray = py::array_t<std::int32_t, py::array::c_style>;
using Pool = std::shared_ptr<ThreadPool>;

Surface surface_of(py::array& image) {
    require(image.ndim() == 3 && image.shape(2) == 3 && image.size() > 0 && image.writeable() &&
                (image.flags() & py::array::c_style),
            "the image must be a writable, contiguous array (H, W, 3)");
    Surface surface;
    if (py::isinstance<py::array_t<std::uint8_t>>(image))
        surface.type = SampleType::uint8;
    else if (py::isinstance<py::array_t<std::uint16_t>>(image))
        surface.type = SampleType::uint16;
    else if (py::isinstance<py::array_t<float>>(image))
        surface.type = SampleType::float32;
    else
        require(false, "the image must be of uint8, uint16 or float32");
    surface.data = image.mutable_data();
    surface.height = image.shape(0);
    surface.width = image.shape(1);
    return surface;
}

Palette palette_of(const FloatArray& colors) {
    require(colors.ndim() == 2 && colors.shape(1) == 3, "a palette must have shape (N, 3)");
    return Palette(colors.data(), static_cast<std::size_t>(colors.shape(0)));
}

Color color_of(const std::array<float, 3>& c) { return {c[0], c[1], c[2]}; }

template <class Value>
Value named(const std::string& name, std::initializer_list<std::pair<const char*, Value>> all,
            const char* what) {
    for (const auto& [known, value] : all)
        if (name == known) return value;
    require(false, what, " is ", name, ", which is not known");
    return all.begin()->second;
}

Boundary boundary_of(const std::string& name) {
    return named<Boundary>(
        name, {{"zero", Boundary::zero}, {"wrap", Boundary::wrap}, {"open", Boundary::open}},
        "the boundary");
}

py::array elementary(int rule, const ByteArray& start, std::int64_t rows,
                     const std::string& boundary) {
    const Boundary kind = boundary_of(boundary);
    const auto cells = static_cast<std::int64_t>(start.size());
    const auto states = elementary_rows(rule, start.data(), cells, rows, kind);
    ByteArray out({static_cast<py::ssize_t>(rows), static_cast<py::ssize_t>(cells)});
    std::copy(states.begin(), states.end(), out.mutable_data());
    return std::move(out);
}

void draw_elementary(py::array& image, int rule, const ByteArray& start,
                     const std::string& boundary, std::int64_t cell, const std::string& color,
                     const FloatArray& palette, const Pool& pool) {
    const Surface surface = surface_of(image);
    require(cell > 0 && start.size() == (surface.width + cell - 1) / cell,
            "the start does not fit the image");
    const Boundary kind = boundary_of(boundary);
    const CellColor by = named<CellColor>(color,
                                          {{"state", CellColor::state},
                                           {"neighborhood", CellColor::neighborhood},
                                           {"row", CellColor::row}},
                                          "the colouring");
    const Palette colors = palette_of(palette);
    const std::uint8_t* states = start.data();
    py::gil_scoped_release release;
    paint_elementary(rule, states, kind, cell, by, colors, surface, *pool);
}

LifeAutomaton life_of(std::uint32_t birth, std::uint32_t survival, const ByteArray& start,
                      const std::string& boundary) {
    require(start.ndim() == 2, "the start must have shape (rows, cells)");
    return LifeAutomaton(birth, survival, start.data(), start.shape(0), start.shape(1),
                         boundary_of(boundary));
}

std::pair<py::array, py::array> life(std::uint32_t birth, std::uint32_t survival,
                                     const ByteArray& start, std::int64_t steps,
                                     const std::string& boundary, const Pool& pool) {
    LifeAutomaton automaton = life_of(birth, survival, start, boundary);
    {
        py::gil_scoped_release release;
        automaton.run(steps, *pool);
    }
    ByteArray states({start.shape(0), start.shape(1)}), ages({start.shape(0), start.shape(1)});
    for (std::int64_t y = 0; y < automaton.height(); ++y)
        for (std::int64_t x = 0; x < automaton.width(); ++x) {
            states.mutable_at(y, x) = automaton.state(y, x);
            ages.mutable_at(y, x) = static_cast<std::uint8_t>(automaton.age(y, x));
        }
    return {std::move(states), std::move(ages)};
}

void draw_life(py::array& image, std::uint32_t birth, std::uint32_t survival,
               const ByteArray& start, std::int64_t steps, const std::string& boundary,
               std::int64_t cell, double fade, const FloatArray& palette, const Pool& pool) {
    const Surface surface = surface_of(image);
    LifeAutomaton automaton = life_of(birth, survival, start, boundary);
    const Palette colors = palette_of(palette);
    py::gil_scoped_release release;
    automaton.run(steps, *pool);
    paint_life(automaton, cell, fade, colors, surface, *pool);
}

using Program = std::pair<IntArray, DoubleArray>;

Formula formula_of(const Program& program) {
    const auto& [codes, constants] = program;
    require(codes.ndim() == 2 && codes.shape(1) == 2, "a program must have shape (N, 2)");
    std::vector<Instruction> instructions;
    for (py::ssize_t i = 0; i < codes.shape(0); ++i) {
        const std::int32_t code = codes.at(i, 0);
        require(code >= 0 && code < static_cast<std::int32_t>(Operation::count),
                "there is no operation ", code);
        instructions.push_back({static_cast<Operation>(code), codes.at(i, 1)});
    }
    return Formula(std::move(instructions),
                   std::vector<double>(constants.data(), constants.data() + constants.size()));
}

std::vector<std::pair<std::string, int>> formula_operations() {
    std::vector<std::pair<std::string, int>> all;
    for (const OperationInfo& info : operations()) all.emplace_back(info.name, info.operands);
    return all;
}

py::array evaluate_formula(const Program& program, const DoubleArray& x, const DoubleArray& y,
                           double t, std::uint64_t seed) {
    require(x.size() == y.size(), "x and y must have the same size");
    const Formula formula = formula_of(program);
    DoubleArray out(x.size());
    formula.evaluate(x.data(), y.data(), static_cast<std::size_t>(x.size()), t, seed,
                     out.mutable_data());
    return std::move(out);
}

View view_of(const std::array<double, 4>& v) { return {v[0], v[1], v[2], v[3]}; }

void draw_formula(py::array& image, const std::vector<Program>& programs, double t,
                  std::uint64_t seed, std::pair<double, double> limits, bool repeat,
                  const FloatArray& palette, const std::array<double, 4>& view, bool antialias,
                  const Pool& pool) {
    const Surface surface = surface_of(image);
    std::vector<Formula> formulas;
    for (const Program& program : programs) formulas.push_back(formula_of(program));
    std::unique_ptr<Field> field;
    if (formulas.size() == 1)
        field = std::make_unique<PaletteFormula>(std::move(formulas[0]), t, seed, limits.first,
                                                 limits.second, repeat, palette_of(palette));
    else
        field = std::make_unique<ColorFormula>(std::move(formulas), t, seed);
    py::gil_scoped_release release;
    paint_field(*field, view_of(view), antialias, surface, *pool);
}

py::array escape_iterations(const DoubleArray& x, const DoubleArray& y, int max_iterations,
                            std::optional<std::pair<double, double>> julia) {
    require(x.size() == y.size(), "x and y must have the same size");
    EscapeSettings settings;
    settings.max_iterations = max_iterations;
    settings.julia = julia.has_value();
    if (julia) std::tie(settings.cx, settings.cy) = *julia;
    const float black[3] = {0, 0, 0};
    const EscapeField field(settings, Palette(black, 1));
    DoubleArray out(x.size());
    field.iterations(x.data(), y.data(), static_cast<std::size_t>(x.size()), out.mutable_data());
    return std::move(out);
}

void draw_escape(py::array& image, std::optional<std::pair<double, double>> julia,
                 int max_iterations, double density, double offset, double relief,
                 const std::array<float, 3>& inside, const FloatArray& palette,
                 const std::array<double, 4>& view, bool antialias, const Pool& pool) {
    const Surface surface = surface_of(image);
    EscapeSettings settings;
    settings.julia = julia.has_value();
    if (julia) std::tie(settings.cx, settings.cy) = *julia;
    settings.max_iterations = max_iterations;
    settings.density = density;
    settings.offset = offset;
    settings.relief = relief;
    settings.inside = color_of(inside);
    const EscapeField field(settings, palette_of(palette));
    py::gil_scoped_release release;
    paint_field(field, view_of(view), antialias, surface, *pool);
}

std::vector<AffineMap> maps_of(const DoubleArray& maps) {
    require(maps.ndim() == 2 && maps.shape(1) == 8, "maps must have shape (N, 8)");
    std::vector<AffineMap> out;
    for (py::ssize_t i = 0; i < maps.shape(0); ++i)
        out.push_back({maps.at(i, 0), maps.at(i, 1), maps.at(i, 2), maps.at(i, 3), maps.at(i, 4),
                       maps.at(i, 5), maps.at(i, 6), maps.at(i, 7)});
    return out;
}

std::array<double, 4> ifs_extent(const DoubleArray& maps, std::uint64_t seed) {
    const auto all = maps_of(maps);
    py::gil_scoped_release release;
    const Bounds e = attractor_extent(all, seed);
    return {e.left, e.bottom, e.right, e.top};
}

void draw_ifs(py::array& image, const DoubleArray& maps, double left, double top, double size,
              double samples, double gamma, const std::array<float, 3>& background,
              std::uint64_t seed, const FloatArray& palette, const Pool& pool) {
    const Surface surface = surface_of(image);
    const auto all = maps_of(maps);
    const ChaosSettings settings{seed, samples, gamma, color_of(background)};
    const Palette colors = palette_of(palette);
    py::gil_scoped_release release;
    paint_attractor(all, left, top, size, settings, colors, surface, *pool);
}

std::string rewrite_string(
    const std::string& axiom,
    const std::vector<std::pair<std::string, std::vector<std::pair<std::string, double>>>>& rules,
    int steps, std::uint64_t seed, std::size_t limit) {
    Rules all;
    for (const auto& [symbol, successors] : rules) {
        require(symbol.size() == 1, "a rule is for one symbol, not for ", symbol);
        for (const auto& [text, weight] : successors) all[symbol[0]].push_back({text, weight});
    }
    py::gil_scoped_release release;
    return rewrite(axiom, all, steps, seed, limit);
}

/// Strokes (N, 8): x0, y0, x1, y1, start, end, tip, level; leaves (M, 4): x, y, angle, distance.
std::pair<FloatArray, FloatArray> turtle(const std::string& text, double angle, double heading,
                                         const std::string& draw, const std::string& move,
                                         const std::string& leaves) {
    Drawing drawing;
    {
        py::gil_scoped_release release;
        drawing = follow(text, angle, heading, draw, move, leaves);
    }
    FloatArray strokes({static_cast<py::ssize_t>(drawing.strokes.size()), py::ssize_t{8}});
    float* out = strokes.mutable_data();
    for (const Stroke& s : drawing.strokes)
        for (float value :
             {s.x0, s.y0, s.x1, s.y1, s.start, s.end, s.tip, static_cast<float>(s.level)})
            *out++ = value;
    FloatArray places({static_cast<py::ssize_t>(drawing.leaves.size()), py::ssize_t{4}});
    out = places.mutable_data();
    for (const Leaf& leaf : drawing.leaves)
        for (float value : {leaf.x, leaf.y, leaf.angle, leaf.distance}) *out++ = value;
    return {std::move(strokes), std::move(places)};
}

/// Columns of an array of shapes; python/fastsynth/patterns/shapes.py writes them in this order.
void draw_shape_array(py::array& image, const FloatArray& shapes, const FloatArray& vertices,
                      const std::array<float, 3>& middle, const std::array<float, 3>& corner,
                      bool antialias, const Pool& pool) {
    constexpr py::ssize_t columns = 25;
    require(shapes.ndim() == 2 && shapes.shape(1) == columns, "shapes must have shape (N, ",
            columns, ")");
    const Surface surface = surface_of(image);
    std::vector<Shape> all(static_cast<std::size_t>(shapes.shape(0)));
    const float* p = shapes.data();
    for (Shape& s : all) {
        require(p[0] >= 0 && p[0] < 4, "there is no kind of shape ", p[0]);
        s.kind = static_cast<ShapeKind>(static_cast<int>(p[0]));
        s.group = static_cast<std::int32_t>(p[1]);
        s.x = p[2];
        s.y = p[3];
        s.u = p[4];
        s.v = p[5];
        s.a = p[6];
        s.b = p[7];
        s.near = {p[8], p[9], p[10]};
        s.far = {p[11], p[12], p[13]};
        s.alpha = p[14];
        s.soft = p[15];
        s.light = p[16];
        s.shine = p[17];
        s.belly = p[18];
        s.sharpness = p[19];
        s.bend = p[20];
        s.veins = p[21];
        s.fold = p[22];
        s.first = static_cast<std::int32_t>(p[23]);
        s.count = static_cast<std::int32_t>(p[24]);
        p += columns;
    }
    const std::vector<float> points(vertices.data(), vertices.data() + vertices.size());
    const Background background{color_of(middle), color_of(corner)};
    py::gil_scoped_release release;
    draw_shapes(all, points, background, antialias, surface, *pool);
}

}  // namespace

void register_patterns(py::module_& module) {
    module.def("elementary_rows", &elementary, py::arg("rule"), py::arg("start"), py::arg("rows"),
               py::arg("boundary"));
    module.def("draw_elementary", &draw_elementary, py::arg("image"), py::arg("rule"),
               py::arg("start"), py::arg("boundary"), py::arg("cell"), py::arg("color"),
               py::arg("palette"), py::arg("pool"));
    module.def("life", &life, py::arg("birth"), py::arg("survival"), py::arg("start"),
               py::arg("steps"), py::arg("boundary"), py::arg("pool"));
    module.def("draw_life", &draw_life, py::arg("image"), py::arg("birth"), py::arg("survival"),
               py::arg("start"), py::arg("steps"), py::arg("boundary"), py::arg("cell"),
               py::arg("fade"), py::arg("palette"), py::arg("pool"));
    module.def("formula_operations", &formula_operations);
    module.def("evaluate_formula", &evaluate_formula, py::arg("program"), py::arg("x"),
               py::arg("y"), py::arg("t"), py::arg("seed"));
    module.def("draw_formula", &draw_formula, py::arg("image"), py::arg("programs"), py::arg("t"),
               py::arg("seed"), py::arg("limits"), py::arg("repeat"), py::arg("palette"),
               py::arg("view"), py::arg("antialias"), py::arg("pool"));
    module.def("escape_iterations", &escape_iterations, py::arg("x"), py::arg("y"),
               py::arg("max_iterations"), py::arg("julia") = py::none());
    module.def("draw_escape", &draw_escape, py::arg("image"), py::arg("julia"),
               py::arg("max_iterations"), py::arg("density"), py::arg("offset"), py::arg("relief"),
               py::arg("inside"), py::arg("palette"), py::arg("view"), py::arg("antialias"),
               py::arg("pool"));
    module.def("ifs_extent", &ifs_extent, py::arg("maps"), py::arg("seed"));
    module.def("draw_ifs", &draw_ifs, py::arg("image"), py::arg("maps"), py::arg("left"),
               py::arg("top"), py::arg("size"), py::arg("samples"), py::arg("gamma"),
               py::arg("background"), py::arg("seed"), py::arg("palette"), py::arg("pool"));
    module.def("rewrite", &rewrite_string, py::arg("axiom"), py::arg("rules"), py::arg("steps"),
               py::arg("seed"), py::arg("limit"));
    module.def("turtle", &turtle, py::arg("text"), py::arg("angle"), py::arg("heading"),
               py::arg("draw"), py::arg("move"), py::arg("leaves"));
    module.def("draw_shapes", &draw_shape_array, py::arg("image"), py::arg("shapes"),
               py::arg("vertices"), py::arg("middle"), py::arg("corner"), py::arg("antialias"),
               py::arg("pool"));
}

}  // namespace fastsynth
