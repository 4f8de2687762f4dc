/* The module: `bind` puts what is written in C in the place of what it replaces. */
#include "core.h"

struct bound bound;
struct names names;

static const struct {
    const char *name;
    PyObject **pure;
} replaced[] = {
    {"Codec", &bound.codec},       {"check", &bound.check},           {"is_plain", &bound.is_plain},
    {"measured", &bound.measured}, {"holds_long", &bound.holds_long}, {"sole", &bound.sole},
    {"cut", &bound.cut},
};

static const struct {
    const char *name;
    PyObject **kept;
} words[] = {
    {"id", &names.id},
    {"interface", &names.interface},
    {"version", &names.version},
    {"path", &names.path},
    {"direction", &names.direction},
    {"window", &names.window},
    {"values", &names.values},
    {"charge", &names.charge},
    {"decode", &names.decode},
    {"encode", &names.encode},
    {"encode_pieces", &names.encode_pieces},
    {"limit", &names.limit},
    {"used", &names.used},
    {"close", &names.close},
    {"max_depth", &names.max_depth},
    {"max_items", &names.max_items},
    {"max_references", &names.max_references},
    {"max_name_bytes", &names.max_name_bytes},
};

/* What stands here under the name of `pure`, which is called for all that is not known here. */
static PyObject *bind(PyObject *module, PyObject *pure)
{
    PyObject *name = PyObject_GetAttrString(pure, "__name__");
    if (name == NULL)
        return NULL;
    for (size_t at = 0; at < Py_ARRAY_LENGTH(replaced); at++) {
        if (PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, replaced[at].name) == 0) {
            Py_XSETREF(*replaced[at].pure, Py_NewRef(pure));
            PyObject *found = PyObject_GetAttr(module, name);
            Py_DECREF(name);
            return found;
        }
    }
    PyErr_Format(PyExc_LookupError, "%R is not written in C", name);
    Py_DECREF(name);
    return NULL;
}

/* The classes of references: of capabilities, answers and streams. */
static PyObject *bind_references(PyObject *module, PyObject *classes)
{
    (void)module;
    PyObject *cap, *answer, *stream;
    if (!PyArg_ParseTuple(classes, "OOO:bind_references", &cap, &answer, &stream))
        return NULL;
    Py_XSETREF(bound.cap, Py_NewRef(cap));
    Py_XSETREF(bound.answer, Py_NewRef(answer));
    Py_XSETREF(bound.stream, Py_NewRef(stream));
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"bind", bind, METH_O, "What stands here under the name of a pure one, which is called for all else."},
    {"bind_references", bind_references, METH_VARARGS, "The classes of references to make and to encode."},
    {"check", check, METH_O, "Whether the frame is one to act on."},
    {"is_plain", (PyCFunction)(void (*)(void))is_plain, METH_FASTCALL, "Whether a value may be encoded as it is."},
    {"measured", measured, METH_O, "What plain data takes up."},
    {"holds_long", holds_long, METH_O, "Whether a frame holds a byte string that is worth cutting out."},
    {"sole", (PyCFunction)(void (*)(void))sole, METH_FASTCALL, "The frame of a chunk that is one frame."},
    {"cut", (PyCFunction)(void (*)(void))cut, METH_FASTCALL, "The frames that are whole in a chunk."},
    {NULL, NULL, 0, NULL},
};

static int execute(PyObject *module)
{
    static int taken;
    if (taken) { /* what is bound is of one interpreter; others run the pure code */
        PyErr_SetString(PyExc_ImportError, "capnet.native.core serves one interpreter of a process");
        return -1;
    }
    for (size_t at = 0; at < Py_ARRAY_LENGTH(replaced); at++)
        *replaced[at].pure = Py_NewRef(Py_None); /* who calls that is told so */
    bound.cap = Py_NewRef(Py_None);
    bound.answer = Py_NewRef(Py_None);
    bound.stream = Py_NewRef(Py_None);
    for (size_t at = 0; at < Py_ARRAY_LENGTH(words); at++) {
        if ((*words[at].kept = PyUnicode_InternFromString(words[at].name)) == NULL)
            return -1;
    }
    if (add_codec(module) < 0 || add_cut() < 0 || PyModule_AddIntConstant(module, "EDITION", EDITION) < 0)
        return -1;
    taken = 1;
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "capnet.native.core",
    .m_doc = "The hot part of capnet.wire; see capnet.native.",
    .m_methods = functions,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit_core(void)
{
    return PyModuleDef_Init(&definition);
}
