// Optimisers, the line search, and Minimization: the update loop. The loop runs without the GIL; it
// is taken for the progress callback, and once per evaluation, on Python's main thread only, to see
// whether Ctrl-C was pressed.
#include <atomic>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "fastsynth/common/error.hpp"
#include "fastsynth/optimize/adam.hpp"
#include "fastsynth/optimize/gradient_descent.hpp"
#include "fastsynth/optimize/lbfgs.hpp"
#include "fastsynth/optimize/line_search.hpp"
#include "fastsynth/optimize/minimize.hpp"

namespace fastsynth {
namespace {

using DoubleArray = py::array_t<double, py::array::c_style>;

/// A flag that any thread may set.
struct Cancel {
    std::atomic<bool> set{false};
};

py::array copy_of(const float* data, const std::vector<py::ssize_t>& shape) {
    FloatArray array(shape);
    std::copy(data, data + array.size(), array.mutable_data());
    return std::move(array);
}

DoubleArray copy_of(const std::vector<double>& values) {
    DoubleArray array(static_cast<py::ssize_t>(values.size()));
    std::copy(values.begin(), values.end(), array.mutable_data());
    return array;
}

/// Writes a state into a dict of numbers, texts and arrays.
class SavingArchive final : public Archive {
  public:
    py::dict state;

    bool restoring() const override { return false; }
    void number(const std::string& name, double& value) override { put(name, py::float_(value)); }
    void count(const std::string& name, std::int64_t& value) override {
        put(name, py::int_(value));
    }
    void flag(const std::string& name, bool& value) override { put(name, py::bool_(value)); }
    void label(const std::string& name, const std::string& text) override {
        put(name, py::str(text));
    }
    void floats(const std::string& name, Buffer<float>& values) override {
        put(name, copy_of(values.data(), {static_cast<py::ssize_t>(values.size())}));
    }
    void doubles(const std::string& name, std::vector<double>& values) override {
        put(name, copy_of(values));
    }

  private:
    void put(const std::string& name, py::object value) { state[py::str(name)] = std::move(value); }
};

/// Reads it back; trusts nothing, for states come from files.
class RestoringArchive final : public Archive {
  public:
    explicit RestoringArchive(py::dict state) : state_(std::move(state)) {}

    bool restoring() const override { return true; }
    void number(const std::string& name, double& value) override {
        const py::object item = get(name);
        require(py::isinstance<py::float_>(item), "the state's ", name, " is not a float");
        value = item.cast<double>();
        require(!std::isnan(value), "the state's ", name, " is not a number");
    }
    void count(const std::string& name, std::int64_t& value) override {
        const py::object item = get(name);
        require(py::isinstance<py::int_>(item), "the state's ", name, " is not an integer");
        const auto wide = PyLong_AsLongLong(item.ptr());
        if (wide == -1 && PyErr_Occurred()) {
            PyErr_Clear();
            require(false, "the state's ", name, " is too large");
        }
        value = wide;
    }
    void flag(const std::string& name, bool& value) override {
        const py::object item = get(name);
        require(py::isinstance<py::bool_>(item), "the state's ", name, " is not a bool");
        value = item.cast<bool>();
    }
    void label(const std::string& name, const std::string& text) override {
        const py::object item = get(name);
        require(py::isinstance<py::str>(item), "the state's ", name, " is not a string");
        const auto found = item.cast<std::string>();
        require(found == text, "the state's ", name, " is ", found, ", expected ", text);
    }
    void floats(const std::string& name, Buffer<float>& values) override {
        const py::object item = get(name);
        require(py::isinstance<FloatArray>(item), "the state's ", name,
                " is not a contiguous float32 array");
        const auto array = item.cast<FloatArray>();
        require(static_cast<std::size_t>(array.size()) == values.size(), "the state's ", name,
                " has ", array.size(), " values, expected ", values.size());
        std::copy(array.data(), array.data() + array.size(), values.data());
    }
    void doubles(const std::string& name, std::vector<double>& values) override {
        const py::object item = get(name);
        require(py::isinstance<DoubleArray>(item), "the state's ", name,
                " is not a contiguous float64 array");
        const auto array = item.cast<DoubleArray>();
        values.assign(array.data(), array.data() + array.size());
    }

  private:
    py::object get(const std::string& name) const {
        require(state_.contains(name.c_str()), "the state has no ", name);
        return state_[name.c_str()];
    }
    py::dict state_;
};

/// Ends the run when the Python error at hand is a KeyboardInterrupt; otherwise lets it pass.
[[noreturn]] void rethrow(py::error_already_set& error) {
    if (error.matches(PyExc_KeyboardInterrupt)) throw Stop{StopReason::interrupted};
    throw;
}

/// An objective that runs Python code, where Ctrl-C may surface as an exception.
class Interruptible final : public Objective {
  public:
    explicit Interruptible(std::shared_ptr<Objective> inner) : inner_(std::move(inner)) {}

    std::size_t size() const override { return inner_->size(); }
    const std::vector<std::string>& names() const override { return inner_->names(); }
    const std::vector<double>& values() const override { return inner_->values(); }
    double evaluate(const float* x, float* gradient) override {
        try {
            return inner_->evaluate(x, gradient);
        } catch (py::error_already_set& error) {
            py::gil_scoped_acquire gil;
            rethrow(error);
        }
    }

  private:
    std::shared_ptr<Objective> inner_;
};

bool on_main_thread() {
    const py::module_ threading = py::module_::import("threading");
    return threading.attr("current_thread")().is(threading.attr("main_thread")());
}

/// Minimization with the shape that its caller's array had.
class BoundMinimization {
  public:
    BoundMinimization(std::shared_ptr<Objective> objective, std::shared_ptr<Optimizer> optimizer,
                      std::shared_ptr<ThreadPool> pool, const FloatArray& x)
        : shape_(x.shape(), x.shape() + x.ndim()),
          run_(std::make_shared<Interruptible>(std::move(objective)), std::move(optimizer),
               std::move(pool), x.data(), static_cast<std::size_t>(x.size())) {}

    std::string run(const Rules& rules, const py::object& progress, double interval,
                    const std::shared_ptr<Cancel>& cancel);

    py::array best() const { return copy_of(run_.best().data(), shape_); }

    /// The best point, after which the run is over: all other vectors are released first.
    py::array finish() {
        run_.release();
        return best();
    }

    py::object average() const {
        const float* values = run_.optimizer().average();
        return values ? py::object(copy_of(values, shape_)) : py::none();
    }

    py::dict history() const {
        const History& history = run_.history();
        const auto rows = static_cast<py::ssize_t>(history.loss.size());
        const auto columns = static_cast<py::ssize_t>(run_.objective().names().size());
        py::dict result;
        result["iteration"] = copy_of(history.iteration);
        result["seconds"] = copy_of(history.seconds);
        result["loss"] = copy_of(history.loss);
        result["parts"] = copy_of(history.parts).reshape({rows, columns});
        return result;
    }

    py::dict state() {
        SavingArchive archive;
        run_.visit(archive);
        return std::move(archive.state);
    }

    void restore(py::dict state) {
        RestoringArchive archive(std::move(state));
        run_.visit(archive);
    }

    const Minimization& inner() const { return run_; }

  private:
    std::vector<py::ssize_t> shape_;
    Minimization run_;
};

/// What the progress callback is given: numbers of the last iteration, and the way to more.
class Progress {
  public:
    explicit Progress(BoundMinimization& run) : run_(&run) {
        const Minimization& m = run.inner();
        iteration = m.iterations();
        evaluation = m.evaluations();
        seconds = m.seconds();
        best_loss = m.best_loss();
        loss = m.history().loss.back();
        names = m.objective().names();
        const auto& parts = m.history().parts;
        values.assign(parts.end() - static_cast<std::ptrdiff_t>(names.size()), parts.end());
    }

    /// Image and state may be taken while the callback runs, not later.
    BoundMinimization& run() const {
        if (!run_) throw std::runtime_error("the callback that this Progress was for is over");
        return *run_;
    }
    void close() { run_ = nullptr; }

    std::int64_t iteration, evaluation;
    double seconds, loss, best_loss;
    std::vector<std::string> names;
    std::vector<double> values;

  private:
    BoundMinimization* run_;
};

std::string BoundMinimization::run(const Rules& rules, const py::object& progress, double interval,
                                   const std::shared_ptr<Cancel>& cancel) {
    require(interval >= 0, "interval must not be negative, but is ", interval);
    Hooks hooks;
    hooks.interval = interval;
    if (cancel) hooks.cancel = &cancel->set;
    if (on_main_thread())
        hooks.poll = [] {
            py::gil_scoped_acquire gil;
            if (PyErr_CheckSignals() == 0) return;
            py::error_already_set error;
            if (error.matches(PyExc_KeyboardInterrupt)) throw Stop{StopReason::interrupted};
            throw error;
        };
    if (!progress.is_none())
        hooks.progress = [this, &progress](const Minimization&) {
            py::gil_scoped_acquire gil;
            const auto report = std::make_shared<Progress>(*this);
            struct Closer {
                Progress& report;
                ~Closer() { report.close(); }
            } closer{*report};
            try {
                // Only False cancels: a callback without a return statement goes on.
                return !progress(report).is(py::bool_(false));
            } catch (py::error_already_set& error) {
                rethrow(error);
            }
        };
    try {
        py::gil_scoped_release work;
        return name_of(run_.run(rules, hooks));
    } catch (const DivergenceError& error) {
        const py::object type = py::module_::import("fastsynth._errors").attr("DivergenceError");
        const py::object image = std::isfinite(run_.best_loss()) ? py::object(best()) : py::none();
        PyErr_SetObject(type.ptr(), type(error.what(), image).ptr());
        throw py::error_already_set();
    }
}

/// Runs LineSearch on a Python function t -> (value, slope), for tests and curious people.
py::dict line_search(const py::function& function, double first_step, double c1, double c2,
                     double noise, int max_evaluations) {
    LineSearchSettings settings;
    settings.c1 = c1;
    settings.c2 = c2;
    settings.noise = noise;
    settings.max_evaluations = max_evaluations;
    const auto start = function(0.0).cast<std::pair<double, double>>();
    LineSearch line(settings, start.first, start.second, first_step);
    auto status = LineSearch::Status::searching;
    int evaluations = 0;
    while (status == LineSearch::Status::searching) {
        const auto trial = function(line.step()).cast<std::pair<double, double>>();
        status = line.advance(trial.first, trial.second);
        ++evaluations;
    }
    static constexpr const char* names[] = {"searching", "accepted", "failed", "diverged"};
    py::dict result;
    result["status"] = names[static_cast<int>(status)];
    result["step"] = status == LineSearch::Status::accepted ? line.step() : line.best().t;
    result["evaluations"] = evaluations;
    return result;
}

}  // namespace

void register_optimize(py::module_& module) {
    py::class_<Optimizer, std::shared_ptr<Optimizer>>(module, "Optimizer")
        .def_property_readonly("name", &Optimizer::name);

    py::class_<GradientDescent, Optimizer, std::shared_ptr<GradientDescent>>(module,
                                                                             "GradientDescent")
        .def(py::init([](double step, double momentum, bool normalize) {
                 return GradientDescent({step, momentum, normalize});
             }),
             py::arg("step"), py::arg("momentum"), py::arg("normalize"));

    py::class_<Adam, Optimizer, std::shared_ptr<Adam>>(module, "Adam")
        .def(py::init([](double learning_rate, double beta1, double beta2, double epsilon,
                         double average) {
                 return Adam({learning_rate, beta1, beta2, epsilon, average});
             }),
             py::arg("learning_rate"), py::arg("beta1"), py::arg("beta2"), py::arg("epsilon"),
             py::arg("average"));

    py::class_<LBFGS, Optimizer, std::shared_ptr<LBFGS>>(module, "LBFGS")
        .def(py::init([](int memory, double first_step, double c1, double c2, double noise,
                         int max_search, int patience) {
                 return LBFGS({memory, first_step, c1, c2, noise, max_search, patience});
             }),
             py::arg("memory"), py::arg("first_step"), py::arg("c1"), py::arg("c2"),
             py::arg("noise"), py::arg("max_search"), py::arg("patience"));

    py::class_<Rules>(module, "Rules")
        .def(py::init<>())
        .def_readwrite("max_evaluations", &Rules::max_evaluations)
        .def_readwrite("max_iterations", &Rules::max_iterations)
        .def_readwrite("time_limit", &Rules::time_limit)
        .def_readwrite("plateau_window", &Rules::plateau_window)
        .def_readwrite("plateau_drop", &Rules::plateau_drop)
        .def_readwrite("gradient_tolerance", &Rules::gradient_tolerance);

    py::class_<Cancel, std::shared_ptr<Cancel>>(
        module, "Cancel",
        "A flag that ends a run: hand it in with cancel=, call set() from any thread.")
        .def(py::init<>())
        .def("set", [](Cancel& flag) { flag.set = true; })
        .def("clear", [](Cancel& flag) { flag.set = false; })
        .def("is_set", [](const Cancel& flag) { return flag.set.load(); });

    py::class_<Progress, std::shared_ptr<Progress>>(module, "Progress")
        .def_readonly("iteration", &Progress::iteration)
        .def_readonly("evaluation", &Progress::evaluation)
        .def_readonly("seconds", &Progress::seconds)
        .def_readonly("loss", &Progress::loss)
        .def_readonly("best_loss", &Progress::best_loss)
        .def_readonly("names", &Progress::names)
        .def_readonly("values", &Progress::values)
        .def("best", [](const Progress& report) { return report.run().best(); })
        .def("average", [](const Progress& report) { return report.run().average(); })
        .def("state", [](const Progress& report) { return report.run().state(); });

    py::class_<BoundMinimization>(module, "Minimization")
        .def(py::init<std::shared_ptr<Objective>, std::shared_ptr<Optimizer>,
                      std::shared_ptr<ThreadPool>, const FloatArray&>(),
             py::arg("objective").none(false), py::arg("optimizer").none(false),
             py::arg("pool").none(false), py::arg("x").noconvert())
        .def("run", &BoundMinimization::run, py::arg("rules"), py::arg("progress") = py::none(),
             py::arg("interval") = 0.0, py::arg("cancel") = std::shared_ptr<Cancel>())
        .def("best", &BoundMinimization::best)
        .def("finish", &BoundMinimization::finish)
        .def("average", &BoundMinimization::average)
        .def("history", &BoundMinimization::history)
        .def("state", &BoundMinimization::state)
        .def("restore", &BoundMinimization::restore, py::arg("state"))
        .def_property_readonly("best_loss",
                               [](const BoundMinimization& run) { return run.inner().best_loss(); })
        .def_property_readonly(
            "iterations", [](const BoundMinimization& run) { return run.inner().iterations(); })
        .def_property_readonly(
            "evaluations", [](const BoundMinimization& run) { return run.inner().evaluations(); })
        .def_property_readonly("seconds",
                               [](const BoundMinimization& run) { return run.inner().seconds(); });

    module.def("line_search", &line_search, py::arg("function"), py::arg("first_step"),
               py::arg("c1") = 1e-4, py::arg("c2") = 0.9, py::arg("noise") = 0.0,
               py::arg("max_evaluations") = 20);
}

}  // namespace fastsynth
