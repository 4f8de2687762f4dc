/* The shapes of frames: `check` of capnet/wire/frames.py. What is not seen to be right here, it judges. */
#include "core.h"

enum { CALL = 2, RESULT, ERROR, CANCEL, FINISH, ITEMS, CREDIT, END, DROP = 11, PING = 14, PONG };

static int is_id(PyObject *value)
{
    return is_number(value, 0, MAX_ID - 1);
}

static int is_positive(PyObject *value)
{
    return is_number(value, 1, MAX_ID - 1);
}

static int is_signed(PyObject *value)
{
    return is_number(value, 1 - MAX_ID, MAX_ID - 1);
}

static int is_stream(PyObject *value)
{
    return is_signed(value) && !is_number(value, 0, 0);
}

static int is_short_ascii(PyObject *text, Py_ssize_t most)
{
    return is_text(text) && PyUnicode_IS_ASCII(text) && PyUnicode_GET_LENGTH(text) <= most;
}

static int is_context(PyObject *context)
{
    if (!PyDict_CheckExact(context) || PyDict_GET_SIZE(context) > MAX_CONTEXT_KEYS)
        return 0;
    Py_ssize_t at = 0;
    PyObject *key, *value;
    while (PyDict_Next(context, &at, &key, &value)) {
        if (!is_short_ascii(key, MAX_NAME_BYTES) || !is_short_ascii(value, MAX_CONTEXT_BYTES))
            return 0;
    }
    return 1;
}

static int is_meta(PyObject *meta)
{
    if (!PyDict_CheckExact(meta))
        return 0;
    Py_ssize_t at = 0;
    PyObject *key, *value;
    while (PyDict_Next(meta, &at, &key, &value)) {
        if (!PyUnicode_CheckExact(key))
            return 0;
        if (PyUnicode_CompareWithASCIIString(key, "deadline") == 0) {
            if (!is_id(value))
                return 0;
        }
        else if (PyUnicode_CompareWithASCIIString(key, "context") == 0) {
            if (!is_context(value))
                return 0;
        }
        else if (PyUnicode_CompareWithASCIIString(key, "keep") == 0
                 || PyUnicode_CompareWithASCIIString(key, "idempotent") == 0) {
            if (!PyBool_Check(value))
                return 0;
        }
    }
    return 1;
}

static int is_target(PyObject *target)
{
    if (is_id(target))
        return 1;
    if (!PyList_CheckExact(target) || PyList_GET_SIZE(target) == 0 || !is_id(PyList_GET_ITEM(target, 0)))
        return 0;
    for (Py_ssize_t at = 1; at < PyList_GET_SIZE(target); at++) {
        PyObject *step = PyList_GET_ITEM(target, at);
        if (!PyUnicode_CheckExact(step) && !PyLong_CheckExact(step))
            return 0;
    }
    return 1;
}

static int are_drops(PyObject *drops)
{
    if (!PyList_CheckExact(drops))
        return 0;
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(drops); at++) {
        PyObject *drop = PyList_GET_ITEM(drops, at);
        if (!PyList_CheckExact(drop) || PyList_GET_SIZE(drop) != 2 || !is_id(PyList_GET_ITEM(drop, 0))
            || !is_positive(PyList_GET_ITEM(drop, 1)))
            return 0;
    }
    return 1;
}

static int is_right(PyObject *const *item, Py_ssize_t size)
{
    switch (PyLong_AsLong(item[0])) {
    case CALL:
        return (size == 5 || (size == 6 && is_meta(item[5]))) && is_id(item[1]) && is_target(item[2])
            && is_ascii_name(item[3], MAX_NAME_BYTES) && PyDict_CheckExact(item[4]);
    case RESULT:
        return size == 3 && is_id(item[1]);
    case ERROR:
        return (size == 4 || (size == 5 && PyDict_CheckExact(item[4]))) && is_id(item[1])
            && PyUnicode_CheckExact(item[2]) && PyUnicode_CheckExact(item[3]);
    case CANCEL:
        return (size == 2 || (size == 3 && PyUnicode_CheckExact(item[2]))) && is_id(item[1]);
    case FINISH:
        return size == 2 && is_id(item[1]);
    case ITEMS:
        return size == 3 && is_stream(item[1]) && PyList_CheckExact(item[2]) && PyList_GET_SIZE(item[2]) > 0;
    case CREDIT:
        return size == 4 && is_signed(item[1]) && is_id(item[2]) && is_id(item[3])
            && (is_positive(item[2]) || is_positive(item[3]));
    case END:
        return size == 2 && is_stream(item[1]);
    case DROP:
        return size == 2 && are_drops(item[1]);
    case PING:
    case PONG:
        return size == 2 && is_signed(item[1]);
    default:
        return 0;
    }
}

PyObject *check(PyObject *module, PyObject *frame)
{
    (void)module;
    if (PyList_CheckExact(frame) && PyList_GET_SIZE(frame) > 1) {
        PyObject *const *item = ((PyListObject *)frame)->ob_item;
        if (is_number(item[0], CALL, PONG) && is_right(item, PyList_GET_SIZE(frame)))
            Py_RETURN_TRUE;
    }
    return PyObject_CallOneArg(bound.check, frame);
}
