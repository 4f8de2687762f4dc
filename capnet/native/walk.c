/* Walks over plain values that build nothing: `is_plain` of capnet/wire/values.py, `measured` of charge.py and
   `holds_long` of codec.py. No Python code runs meanwhile, so what is walked does not change. */
#include "core.h"

/* Whether it is an integer that has a place in a CBOR head: from -2**64 to 2**64 - 1. */
static int is_wire_integer(PyObject *value)
{
    int overflow;
    PyLong_AsLongLongAndOverflow(value, &overflow);
    if (!overflow)
        return 1;
    PyObject *positive = overflow > 0 ? Py_NewRef(value) : PyNumber_Invert(value);
    if (positive == NULL)
        return -1;
    int fits = PyLong_AsUnsignedLongLong(positive) != (unsigned long long)-1 || !PyErr_Occurred();
    Py_DECREF(positive);
    if (!fits)
        PyErr_Clear();
    return fits;
}

/* Whether it is one value that may be encoded as it is, and no container. */
static int is_leaf(PyObject *value)
{
    if (PyLong_CheckExact(value))
        return is_wire_integer(value);
    return PyUnicode_CheckExact(value) || value == Py_None || PyBool_Check(value) || PyFloat_CheckExact(value)
        || PyBytes_CheckExact(value);
}

/* 1 if all in it is plain and there is room for it, 0 if not, less than 0 on an error. */
static int walk(PyObject *value, int depth, Py_ssize_t *room)
{
    if (depth <= 0)
        return 0;
    if (PyDict_CheckExact(value)) {
        Py_ssize_t at = 0, size = PyDict_GET_SIZE(value);
        PyObject *key, *item;
        if (size > *room / 2)
            return 0;
        *room -= 2 * size;
        while (PyDict_Next(value, &at, &key, &item)) {
            if (!PyUnicode_CheckExact(key))
                return 0;
            int plain = is_leaf(item);
            if (plain == 0)
                plain = walk(item, depth - 1, room);
            if (plain <= 0)
                return plain;
        }
        return 1;
    }
    if (!PyList_CheckExact(value) && !PyTuple_CheckExact(value))
        return 0;
    Py_ssize_t size = Py_SIZE(value);
    if (size > *room)
        return 0;
    *room -= size;
    for (Py_ssize_t at = 0; at < size; at++) {
        PyObject *item = PyList_CheckExact(value) ? PyList_GET_ITEM(value, at) : PyTuple_GET_ITEM(value, at);
        int plain = is_leaf(item);
        if (plain == 0)
            plain = walk(item, depth - 1, room);
        if (plain <= 0)
            return plain;
    }
    return 1;
}

PyObject *is_plain(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    (void)module;
    if (count != 2 && count != 3) {
        PyErr_SetString(PyExc_TypeError, "is_plain takes a value, limits, and perhaps how many containers are around it");
        return NULL;
    }
    int plain = is_leaf(arguments[0]);
    if (plain == 0) {
        Py_ssize_t around = count == 3 ? PyLong_AsSsize_t(arguments[2]) : 1;
        Py_ssize_t depth = around < 0 ? -1 : number_of(arguments[1], names.max_depth, PY_SSIZE_T_MAX);
        Py_ssize_t room = depth < 0 ? -1 : number_of(arguments[1], names.max_items, PY_SSIZE_T_MAX);
        if (room < 0)
            return PyErr_Occurred() ? NULL : PyObject_Vectorcall(bound.is_plain, arguments, (size_t)count, NULL);
        depth -= around;
        room -= FRAME_ITEMS;
        plain = room < 0 ? 0 : walk(arguments[0], (int)Py_MIN(depth, DEEPEST), &room);
        if (plain == 0 && depth > DEEPEST)
            return PyObject_Vectorcall(bound.is_plain, arguments, (size_t)count, NULL);
    }
    return plain < 0 ? NULL : PyBool_FromLong(plain);
}

typedef struct {
    Py_ssize_t count, length, wide;
} Totals;

static int measure_text(PyObject *text, Totals *totals)
{
    if (!is_text(text))
        return UNKNOWN;
    totals->length += PyUnicode_GET_LENGTH(text);
    if (!PyUnicode_IS_ASCII(text))
        totals->wide += width(text);
    return 0;
}

static int measure(PyObject *value, Totals *totals, int depth)
{
    totals->count++;
    if (PyUnicode_CheckExact(value))
        return measure_text(value, totals);
    if (PyBytes_CheckExact(value)) {
        totals->length += PyBytes_GET_SIZE(value);
        return 0;
    }
    if (PyDict_CheckExact(value)) {
        Py_ssize_t at = 0;
        PyObject *key, *item;
        if (depth <= 0)
            return UNKNOWN;
        totals->count += PyDict_GET_SIZE(value);
        while (PyDict_Next(value, &at, &key, &item)) {
            if (measure_text(key, totals) < 0 || measure(item, totals, depth - 1) < 0)
                return UNKNOWN;
        }
        return 0;
    }
    if (PyList_CheckExact(value) || PyTuple_CheckExact(value)) {
        if (depth <= 0)
            return UNKNOWN;
        for (Py_ssize_t at = 0; at < Py_SIZE(value); at++) {
            PyObject *item = PyList_CheckExact(value) ? PyList_GET_ITEM(value, at) : PyTuple_GET_ITEM(value, at);
            if (measure(item, totals, depth - 1) < 0)
                return UNKNOWN;
        }
    }
    return 0;
}

PyObject *measured(PyObject *module, PyObject *value)
{
    (void)module;
    Totals totals = {0, 0, 0};
    if (measure(value, &totals, DEEPEST) < 0)
        return PyObject_CallOneArg(bound.measured, value);
    return Py_BuildValue("nnn", totals.count, totals.length, BYTES_PER_VALUE * totals.count + totals.wide);
}

static int is_long(PyObject *value)
{
    return PyBytes_CheckExact(value) && PyBytes_GET_SIZE(value) >= LONG_BYTES;
}

PyObject *holds_long(PyObject *module, PyObject *frame)
{
    (void)module;
    if (!PyList_CheckExact(frame) || PyList_GET_SIZE(frame) == 0)
        return PyObject_CallOneArg(bound.holds_long, frame);
    Py_ssize_t size = PyList_GET_SIZE(frame);
    PyObject *value = PyList_GET_ITEM(frame, size > 4 ? 4 : size - 1);
    int found = 0;
    if (PyDict_CheckExact(value)) {
        PyObject *item;
        Py_ssize_t at = 0;
        while (!found && PyDict_Next(value, &at, NULL, &item))
            found = is_long(item);
    }
    else if (PyList_CheckExact(value)) {
        size = Py_MIN(PyList_GET_SIZE(value), FIRST_ITEMS);
        for (Py_ssize_t at = 0; at < size && !found; at++)
            found = is_long(PyList_GET_ITEM(value, at));
    }
    else
        found = is_long(value);
    return PyBool_FromLong(found);
}
