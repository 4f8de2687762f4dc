/* One frame from its bytes, in one pass: what `Codec.decode` in capnet/wire/codec.py does, for frames that are in order.

   Every rule of P-FRAME-4 and P-REF is kept here: what breaks one is left to the pure code, which says so. Nothing that
   the frame announces is believed: there is room for what a container announces only when as many bytes follow, less
   what the containers around it still wait for. So all that is made is bounded by the frame's length and by the limits. */
#include "core.h"

typedef struct {
    const unsigned char *at, *end;
    Py_ssize_t room;       /* items that there may be beside those announced */
    Py_ssize_t owed;       /* items that open containers announced and that have not come */
    Py_ssize_t values;     /* as `Codec.values` */
    Py_ssize_t wide;       /* what text takes beyond its bytes */
    Py_ssize_t charge;     /* of references */
    PyObject *references;  /* a list, or NULL */
    const Bounds *bounds;
} Input;

static PyObject *value(Input *input, int depth);

/* The head of the next item: its first byte and its argument. */
static int head(Input *input, unsigned *first, uint64_t *argument)
{
    if (input->at >= input->end)
        return UNKNOWN;
    *first = *input->at++;
    unsigned info = *first & 31;
    if (info < 24) {
        *argument = info;
        return 0;
    }
    if (info > 27)
        return UNKNOWN;
    Py_ssize_t bytes = (Py_ssize_t)1 << (info - 24);
    if (input->end - input->at < bytes)
        return UNKNOWN;
    uint64_t number = 0;
    while (bytes-- > 0)
        number = number << 8 | *input->at++;
    *argument = number;
    return 0;
}

/* Open a container of so many items. */
static int announce(Input *input, uint64_t count)
{
    Py_ssize_t free = input->end - input->at - input->owed;
    if (free < 0 || count > (uint64_t)free || count > (uint64_t)input->room)
        return UNKNOWN;
    input->room -= (Py_ssize_t)count;
    input->owed += (Py_ssize_t)count;
    return 0;
}

static PyObject *text(Input *input, uint64_t length)
{
    if (length > (uint64_t)(input->end - input->at))
        return NULL;
    PyObject *text = PyUnicode_DecodeUTF8((const char *)input->at, (Py_ssize_t)length, NULL);
    if (text == NULL)
        return NULL;
    input->at += length;
    if (!PyUnicode_IS_ASCII(text))
        input->wide += width(text);
    return text;
}

static PyObject *integer(unsigned major, uint64_t argument)
{
    if (argument <= INT64_MAX)
        return PyLong_FromLongLong(major == 0 ? (long long)argument : -1 - (long long)argument);
    PyObject *positive = PyLong_FromUnsignedLongLong(argument);
    if (major == 0 || positive == NULL)
        return positive;
    PyObject *negative = PyNumber_Invert(positive); /* -1 - argument */
    Py_DECREF(positive);
    return negative;
}

static double from_half(uint64_t half)
{
    uint64_t sign = half >> 15, exponent = half >> 10 & 31, fraction = half & 1023, bits;
    if (exponent == 31)
        bits = UINT64_C(0x7ff) << 52 | (fraction ? UINT64_C(1) << 51 | fraction << 42 : 0);
    else if (exponent)
        bits = (exponent + 1008) << 52 | fraction << 42;
    else {
        double small = (double)fraction / 16777216.0;
        memcpy(&bits, &small, sizeof bits);
    }
    bits |= sign << 63;
    double number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

/* Major type 7: floats, and three of the simple values. */
static PyObject *simple(unsigned first, uint64_t argument)
{
    double number;
    switch (first) {
    case 0xf4:
        Py_RETURN_FALSE;
    case 0xf5:
        Py_RETURN_TRUE;
    case 0xf6:
        Py_RETURN_NONE;
    case 0xf9:
        return PyFloat_FromDouble(from_half(argument));
    case 0xfa: {
        uint32_t bits = (uint32_t)argument;
        float single;
        memcpy(&single, &bits, sizeof single);
        return PyFloat_FromDouble((double)single);
    }
    case 0xfb:
        memcpy(&number, &argument, sizeof number);
        return PyFloat_FromDouble(number);
    default:
        return NULL;
    }
}

static PyObject *array(Input *input, uint64_t count, int depth)
{
    if (count && (depth <= 0 || announce(input, count) < 0))
        return NULL;
    PyObject *list = PyList_New((Py_ssize_t)count);
    if (list == NULL)
        return NULL;
    PyObject_GC_UnTrack(list); /* nobody may see it before it is full */
    for (Py_ssize_t index = 0; index < (Py_ssize_t)count; index++) {
        PyObject *item = value(input, depth - 1);
        if (item == NULL) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SET_ITEM(list, index, item);
    }
    PyObject_GC_Track(list);
    return list;
}

/* One key and its value into a map that has `before` already. */
static int entry(Input *input, PyObject *map, Py_ssize_t before, int depth)
{
    unsigned first;
    uint64_t length;
    if (head(input, &first, &length) < 0 || first >> 5 != 3)
        return UNKNOWN;
    input->owed--;
    input->values++;
    PyObject *key = text(input, length);
    if (key == NULL)
        return -1;
    PyObject *item = value(input, depth);
    if (item == NULL) {
        Py_DECREF(key);
        return -1;
    }
    int failed = PyDict_SetItem(map, key, item);
    Py_DECREF(key);
    Py_DECREF(item);
    if (failed)
        return -1;
    return PyDict_GET_SIZE(map) == before + 1 ? 0 : UNKNOWN; /* else it stands there twice */
}

static PyObject *map(Input *input, uint64_t count, int depth)
{
    if (count && (depth <= 0 || count > INT64_MAX / 2 || announce(input, 2 * count) < 0))
        return NULL;
    PyObject *map = PyDict_New();
    if (map == NULL)
        return NULL;
    for (Py_ssize_t index = 0; index < (Py_ssize_t)count; index++) {
        if (entry(input, map, index, depth - 1) < 0) {
            Py_DECREF(map);
            return NULL;
        }
    }
    return map;
}

/* The next item under a reference: an integer or a text, of which `wide` is not counted. */
static PyObject *part(Input *input)
{
    unsigned first;
    uint64_t argument;
    if (head(input, &first, &argument) < 0)
        return NULL;
    input->owed--;
    if (first >> 5 < 2)
        return integer(first >> 5, argument);
    if (first >> 5 != 3)
        return NULL;
    Py_ssize_t wide = input->wide;
    PyObject *found = text(input, argument);
    input->wide = wide;
    return found;
}

/* `[id, interface, version]`; the id has been read. */
static PyObject *cap(Input *input, PyObject *id, uint64_t count)
{
    if (count != 3 || !is_number(id, 1 - MAX_ID, MAX_ID - 1) || is_number(id, 0, 0))
        return NULL;
    PyObject *found = NULL, *version = NULL, *interface = part(input);
    if (interface != NULL && is_ascii_name(interface, input->bounds->max_name_bytes)) {
        version = part(input);
        if (version != NULL && is_number(version, 0, MAX_ID - 1)) {
            PyObject *arguments[] = {interface, version, Py_None, id};
            found = PyObject_Vectorcall(bound.cap, arguments, 4, NULL);
            input->charge += BYTES_PER_CAP;
        }
    }
    Py_XDECREF(interface);
    Py_XDECREF(version);
    return found;
}

/* `[call_id, step, …]` */
static PyObject *answer(Input *input, PyObject *id, uint64_t count)
{
    if (!is_number(id, 1, MAX_ID - 1))
        return NULL;
    PyObject *path = PyTuple_New((Py_ssize_t)count - 1);
    if (path == NULL)
        return NULL;
    if (count > 1)
        PyObject_GC_UnTrack(path); /* nobody may see it before it is full, and it is in no cycle then */
    PyObject *found = NULL;
    for (Py_ssize_t index = 0; index < (Py_ssize_t)count - 1; index++) {
        PyObject *step = part(input);
        if (step == NULL)
            goto done;
        PyTuple_SET_ITEM(path, index, step);
        input->charge += BYTES_PER_VALUE;
        if (PyUnicode_CheckExact(step) && !PyUnicode_IS_ASCII(step))
            input->charge += width(step);
    }
    PyObject *arguments[] = {id, path};
    found = PyObject_Vectorcall(bound.answer, arguments, 2, NULL);
    input->charge += BYTES_PER_CAP;
done:
    Py_DECREF(path);
    return found;
}

/* `[id, direction]`; one that says its window, which are few, is for the pure code. */
static PyObject *stream(Input *input, PyObject *id, uint64_t count)
{
    if (count != 2 || !is_number(id, 1, MAX_ID - 1))
        return NULL;
    PyObject *found = NULL, *direction = part(input);
    if (direction != NULL && PyUnicode_CheckExact(direction)
        && (PyUnicode_CompareWithASCIIString(direction, "in") == 0
            || PyUnicode_CompareWithASCIIString(direction, "out") == 0)) {
        PyObject *arguments[] = {direction, Py_None, id};
        found = PyObject_Vectorcall(bound.stream, arguments, 3, NULL);
        input->charge += BYTES_PER_STREAM;
    }
    Py_XDECREF(direction);
    return found;
}

static PyObject *reference(Input *input, uint64_t tag, int depth)
{
    unsigned first;
    uint64_t count;
    if (tag < TAG_CAP || tag > TAG_STREAM || depth < 2 || announce(input, 1) < 0 || head(input, &first, &count) < 0)
        return NULL;
    input->owed--;
    if (first >> 5 != 4 || count == 0 || announce(input, count) < 0)
        return NULL;
    if (input->references == NULL && (input->references = PyList_New(0)) == NULL)
        return NULL;
    if (PyList_GET_SIZE(input->references) >= input->bounds->max_references)
        return NULL;
    PyObject *id = part(input);
    if (id == NULL)
        return NULL;
    PyObject *found = tag == TAG_CAP ? cap(input, id, count)
        : tag == TAG_ANSWER          ? answer(input, id, count)
                                     : stream(input, id, count);
    Py_DECREF(id);
    if (found != NULL && PyList_Append(input->references, found) < 0)
        Py_CLEAR(found);
    return found;
}

/* The next item; `depth` is how many containers it may open. */
static PyObject *value(Input *input, int depth)
{
    unsigned first;
    uint64_t argument;
    if (head(input, &first, &argument) < 0)
        return NULL;
    input->owed--;
    input->values++;
    switch (first >> 5) {
    case 0:
    case 1:
        return integer(first >> 5, argument);
    case 2: {
        if (argument > (uint64_t)(input->end - input->at))
            return NULL;
        PyObject *bytes = PyBytes_FromStringAndSize((const char *)input->at, (Py_ssize_t)argument);
        input->at += argument;
        return bytes;
    }
    case 3:
        return text(input, argument);
    case 4:
        return array(input, argument, depth);
    case 5:
        return map(input, argument, depth);
    case 6:
        return reference(input, argument, depth);
    default:
        return simple(first, argument);
    }
}

PyObject *decode_frame(const unsigned char *data, Py_ssize_t size, Bounds *bounds)
{
    Input input = {.at = data, .end = data + size, .room = bounds->max_items - 1, .bounds = bounds};
    unsigned first;
    uint64_t count;
    if (bounds->max_items < 1 || head(&input, &first, &count) < 0 || first >> 5 != 4)
        return NULL;
    PyObject *found = NULL, *frame = array(&input, count, bounds->max_depth);
    if (frame != NULL && input.at == input.end) {
        PyObject *references = input.references;
        if (references == NULL)
            references = PyTuple_New(0);
        else
            Py_INCREF(references);
        if (references != NULL) {
            found = PyTuple_Pack(2, frame, references);
            Py_DECREF(references);
        }
    }
    Py_XDECREF(frame);
    Py_XDECREF(input.references);
    if (found != NULL) {
        bounds->values = input.values;
        bounds->charge = size + BYTES_PER_VALUE * input.values + input.wide + input.charge;
    }
    else if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
        PyErr_Clear();
    return found;
}
