// Says the texts that came with a page as data: by name, with their values, and in the plural form of their count.

const language = document.documentElement.lang;
const category = new Intl.PluralRules(language);

export const speaker = (json) => {
  const texts = JSON.parse(json);
  return (name, values = {}) => {
    const said = texts[name] ?? name;
    const text = typeof said === "string" ? said : (said[category.select(values.count)] ?? said.other);
    return text.replace(/\{(\w+)\}/g, (place, key) => values[key] ?? place);
  };
};

export const decimal = (number, digits) =>
  number.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
