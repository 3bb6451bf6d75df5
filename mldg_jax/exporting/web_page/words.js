// What the page says of a score and of the detector, in plain words.

const list = new Intl.ListFormat("en");
const plainNumber = new Intl.NumberFormat("en");
const languages = new Intl.DisplayNames("en", { type: "language" });

function languageName(code) {
  try {
    return languages.of(code);
  } catch {
    return code; // not a code of BCP 47
  }
}

/** A score with a sign and two decimals, with a real minus. */
export function signed(score) {
  const text = Math.abs(score).toFixed(2);
  if (Number(text) === 0) return text;
  return (score < 0 ? "−" : "+") + text;
}

function times(ratio) {
  if (ratio > 1000) return "more than 1,000";
  return ratio < 10 ? String(Number(ratio.toPrecision(2))) : String(Math.round(ratio));
}

/** One sentence on a score. */
export function meaning(score, isCalibrated) {
  if (!isCalibrated) {
    return (
      "A higher score is more like human speech. This detector is not calibrated: compare " +
      "the score with those of other recordings; 0 is not a threshold."
    );
  }
  const ratio = Math.exp(Math.abs(score));
  if (ratio < 1.5) {
    return "Such a score is about as likely for human speech as for spoofed speech.";
  }
  const [more, less] = score > 0 ? ["human", "spoofed"] : ["spoofed", "human"];
  return `Such a score is about ${times(ratio)} times as likely for ${more} speech as for ${less} speech.`;
}

/** Paragraphs on what the score means and does not. */
export function explanation(detector) {
  const scale = detector.calibration
    ? `The score is a log-likelihood ratio in nats, calibrated on ` +
      `${plainNumber.format(detector.calibration.n_bonafide)} human and ` +
      `${plainNumber.format(detector.calibration.n_spoof)} spoofed utterances. Above 0, ` +
      "the recording is more like the human ones, below 0 more like the spoofed ones. How " +
      "probable a fake is depends as well on how common fakes are where it comes from."
    : "The score is higher for human speech. It is not calibrated: it orders recordings, " +
      "but is not a probability, and 0 is not a threshold.";
  return [
    scale,
    "It is evidence and not a verdict. The detector can fail on kinds of synthesis, " +
      "languages, microphones and codecs that it was not trained on, on noise and music, " +
      "and on recordings that are synthetic only in part. Do not decide about a person on " +
      "this score alone.",
  ];
}

function percent(fraction) {
  return `${(100 * fraction).toFixed(1)} %`;
}

function evaluationWords(evaluation) {
  const interval = evaluation.eer_interval;
  const range = interval ? `, 95 % interval ${percent(interval[0])} to ${percent(interval[1])}` : "";
  const seen = evaluation.trained_on.length
    ? ` It was trained on some of these attacks (${list.format(evaluation.trained_on)}), so it may err more on new ones.`
    : "";
  return (
    `${evaluation.name}: ${percent(evaluation.eer)} equal error rate${range} (at the ` +
    `threshold where the share of human recordings taken for spoofed equals the share of ` +
    `spoofed ones taken for human), on ${plainNumber.format(evaluation.n_bonafide)} ` +
    `human and ${plainNumber.format(evaluation.n_spoof)} spoofed utterances.${seen}`
  );
}

/** The human speech that the detector was trained on; what is not known is left out. */
function trainingWords(training) {
  const speakers = training.speakers === 1 ? "speaker" : "speakers";
  const known = training.languages.filter((code) => code !== "-");
  return `${plainNumber.format(training.bonafide)} human utterances` +
    (training.speakers ? ` of ${plainNumber.format(training.speakers)} ${speakers}` : "") +
    (known.length ? ` (${list.format(known.map(languageName))})` : "");
}

/** Facts on the detector: pairs of a term and its description. */
export function facts(detector) {
  const rows = [["Detector", detector.description]];
  const training = detector.training;
  if (training) {
    const attacks = list.format(Object.keys(training.spoof));
    rows.push(
      ["Trained on", trainingWords(training)],
      ["Attacks in training", `${attacks} (an attack is a way to make spoofed speech)`],
    );
  }
  if (detector.evaluations.length) {
    for (const evaluation of detector.evaluations) {
      rows.push(["Measured error", evaluationWords(evaluation)]);
    }
  } else {
    rows.push(["Measured error", "its model card has no evaluation, so how often it errs is not known"]);
  }
  const seconds = (detector.window_samples / detector.sample_rate).toFixed(2);
  if (detector.weights_licence) rows.push(["Pretrained weights", detector.weights_licence]);
  rows.push(
    ["Window", `${seconds} s; the score of a recording is the mean of its windows`],
    ["Made by", `mldg_jax ${detector.made_by.mldg_jax}, run by onnxruntime-web ` +
      `${detector.made_by["onnxruntime-web"]} (MIT)`],
  );
  return rows;
}

/** Segment scores as `mldg score --timeline` writes them. */
export function segmentTable(name, windows, sampleRate) {
  const rows = windows.map(({ start, end, score }) =>
    [(start / sampleRate).toFixed(3), (end / sampleRate).toFixed(3), score.toFixed(6)].join("\t"),
  );
  return `# ${name}\nstart\tend\tscore\n${rows.join("\n")}\n`;
}
